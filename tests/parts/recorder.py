"""An upstream with Tornado's parser, which is Jupyter's: records every request that it parsed.

Listens on $SPACE_AGENT_APP_SOCKET; the argument names the file of the record (see tests/src/record.rs). A target that
ends in `/early` is answered with 413 before its body is read; every other request with 200, once all of it is there.
"""

import asyncio
import itertools
import json
import os
import sys

from tornado import httputil
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

NUMBERS = itertools.count(1)
RECORD = open(sys.argv[1], "a", buffering=1)


def tell(**line):
    RECORD.write(json.dumps(line) + "\n")


class Message(httputil.HTTPMessageDelegate):
    def __init__(self, connection):
        self.connection = connection
        self.number = next(NUMBERS)
        self.body = b""
        self.length = 0
        self.answered = False

    def headers_received(self, start_line, headers):
        pairs = [[name.lower(), value] for name, value in headers.get_all()]
        self.method, target = start_line.method, start_line.path
        tell(event="head", id=self.number, method=self.method, target=target, headers=pairs)
        if target.endswith("/early"):
            self.answer(413, "Payload Too Large")

    def data_received(self, chunk):
        self.length += len(chunk)
        self.body = (self.body + chunk)[:4096]

    def finish(self):
        tell(event="end", id=self.number, length=self.length, body=self.body.decode("latin-1"))
        if not self.answered:
            self.answer(200, "OK")

    def answer(self, code, reason):
        self.answered = True
        body = f"seen {self.number}\n".encode()
        headers = httputil.HTTPHeaders({"X-Mark": str(self.number), "Content-Length": str(len(body))})
        line = httputil.ResponseStartLine("HTTP/1.1", code, reason)
        self.connection.write_headers(line, headers, b"" if self.method == "HEAD" else body)
        self.connection.finish()

    def on_connection_close(self):
        pass


class App(httputil.HTTPServerConnectionDelegate):
    def start_request(self, server_conn, request_conn):
        return Message(request_conn)


async def main():
    path = os.environ["SPACE_AGENT_APP_SOCKET"]
    if os.path.exists(path):
        os.unlink(path)
    server = HTTPServer(App())
    server.add_socket(bind_unix_socket(path))
    await asyncio.Event().wait()


asyncio.run(main())
