"""An app that does what no app should, by the last segment of the path; and records every byte that reaches it.

Listens on $SPACE_AGENT_APP_SOCKET. The argument names the file of the record: a line of JSON for each connection
({"connection": N}) and for what came over it ({"connection": N, "bytes": "…"}, bytes as characters).
"""

import base64
import hashlib
import itertools
import json
import os
import re
import socket
import socketserver
import sys
import time

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
NUMBERS = itertools.count(1)
RECORD = open(sys.argv[1], "a", buffering=1)


def tell(**line):
    RECORD.write(json.dumps(line) + "\n")


def answer(body, more="", code="200 OK"):
    return f"HTTP/1.1 {code}\r\nContent-Length: {len(body)}\r\n{more}\r\n{body}".encode()


def chunked(*lines):
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(lines)


# What is said at once, and whether the connection is closed then.
SAID = {
    "nothing": (b"", True),
    "stalls": (b"", False),
    "half-a-line": (b"HTTP/1.1 20", True),
    "half-a-head": (b"HTTP/1.1 200 OK\r\nContent-Le", False),
    "dies": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100, True),
    "dies-in-a-chunk": (chunked(b"64\r\nxxx"), True),
    "dies-between-chunks": (chunked(b"3\r\nxxx\r\n"), True),
    "stalls-in-a-body": (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 100, False),
    "twice": (answer("first\n") + answer("second\n"), False),
    "too-much": (answer("first\n") + b"and more", False),
    "garbage": (bytes(range(256)) * 16, False),
    "bad-chunks": (chunked(b"zz\r\nxxx\r\n"), False),
    "two-lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nfirst\n", False),
    "length-and-chunks": (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", False),
    "no-headers-end": (b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20000, False),
    "long-header": (answer("", "X-A: " + "b" * (1 << 20) + "\r\n"), False),
    "many-headers": (answer("", "X-A: b\r\n" * 5000), False),
    "code-0": (answer("", code="000 No"), False),
    "code-999": (answer("first\n", code="999 More"), False),
    "switches": (b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", False),
    "only-100": (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, True),
    "cacheable": (answer("first\n", "Cache-Control: public, max-age=3600\r\nETag: \"a\"\r\n"), False),
    "final": (answer("", code="417 Expectation Failed"), False),
}


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        number = next(NUMBERS)
        tell(connection=number)
        self.request.settimeout(120)
        seen = b""
        while True:
            try:
                data = self.request.recv(65536)
            except OSError:
                return
            if not data:
                return
            tell(connection=number, bytes=data.decode("latin-1"))
            seen += data
            while b"\r\n\r\n" in seen:
                head, seen = seen.split(b"\r\n\r\n", 1)
                length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
                what = head.split(b" ")[1].split(b"?")[0].rsplit(b"/", 1)[1].decode("latin-1")
                if what != "final":
                    seen = self.read_body(number, seen, int(length[1]) if length else 0)
                if not self.say(what, head):
                    return

    def read_body(self, number, seen, length):
        while len(seen) < length and (data := self.request.recv(65536)):
            tell(connection=number, bytes=data.decode("latin-1"))
            seen += data
        return seen[length:]

    def say(self, what, head):
        if what == "agrees":
            key = re.search(rb"(?i)sec-websocket-key: (\S+)", head)
            accept = base64.b64encode(hashlib.sha1(key[1] + MAGIC.encode()).digest()) if key else b"none"
            text = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            said, closes = text + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n", False
        elif what == "drips":
            said, closes = b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n", True
            self.request.sendall(said)
            for _ in range(20):
                self.request.sendall(b"x")
                time.sleep(0.02)
            said = b""
        elif what == "big":
            said, closes = b"", True
            self.stream(64 << 20)
        else:
            said, closes = SAID.get(what, (answer("fine\n"), False))
        try:
            self.request.sendall(said)
            if closes:
                self.request.shutdown(socket.SHUT_RDWR)
        except OSError:
            return False
        return not closes


    def stream(self, length):
        try:
            self.request.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
            for _ in range(length >> 16):
                self.request.sendall(b"x" * (1 << 16))
        except OSError:
            pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 512


def main():
    path = os.environ["SPACE_AGENT_APP_SOCKET"]
    if os.path.exists(path):
        os.unlink(path)
    Server(path, Handler).serve_forever()


main()
