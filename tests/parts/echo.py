"""An app for the stories: answers each request with what it got, as JSON.

Listens on $PORT (127.0.0.1) or on the socket $SPACE_AGENT_APP_SOCKET. Paths, below whatever base path:
  …/set-cookie?VALUE   sets the cookie VALUE       …/status/CODE   answers with that code
  …/drip?N             sends N lines, one each 100 ms
A request to upgrade is answered with 101; every byte after it comes back as it is.

Arguments: `stubborn` ignores SIGTERM; `daemon` leaves a grandchild in a session of its own;
`dies` ends at once with exit code 7.
"""

import base64
import hashlib
import json
import os
import signal
import socket
import socketserver
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def address_string(self):
        return "peer"

    def answer(self):
        url = urlsplit(self.path)
        if self.headers.get("Upgrade"):
            return self.tunnel()
        body = self.body()
        if url.path.endswith("/drip"):
            return self.drip(int(url.query))
        code = int(url.path.rsplit("/", 1)[1]) if "/status/" in url.path else 200
        told = {
            "method": self.command,
            "path": self.path,
            "headers": [[name.lower(), value] for name, value in self.headers.items()],
            "length": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "pid": os.getpid(),
        }
        text = json.dumps(told).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if url.path.endswith("/set-cookie"):
            self.send_header("Set-Cookie", unquote(url.query))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = answer

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self.rfile.readline().split(b";")[0], 16):
                pieces.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            return b"".join(pieces)
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def drip(self, lines):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number in range(lines):
            text = f"{number}\n".encode()
            self.wfile.write(f"{len(text):x}\r\n".encode() + text + b"\r\n")
            self.wfile.flush()
            time.sleep(0.1)
        self.wfile.write(b"0\r\n\r\n")

    def tunnel(self):
        key = self.headers.get("Sec-WebSocket-Key", "")
        accept = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accept)
        self.end_headers()
        self.close_connection = True
        while data := self.connection.recv(65536):
            self.connection.sendall(data)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


class UnixServer(Server):
    address_family = socket.AF_UNIX


def main():
    print("echo: started", *sys.argv[1:], flush=True)
    if "dies" in sys.argv:
        print("echo: I cannot go on", file=sys.stderr, flush=True)
        sys.exit(7)
    if "stubborn" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if "daemon" in sys.argv:
        subprocess.Popen(["sleep", "3600"], start_new_session=True)
    if port := os.environ.get("PORT"):
        server = Server(("127.0.0.1", int(port)), Handler)
    else:
        path = os.environ["SPACE_AGENT_APP_SOCKET"]
        if os.path.exists(path):
            os.unlink(path)
        server = UnixServer(path, Handler)
    server.serve_forever()


main()
