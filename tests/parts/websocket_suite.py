"""The connection tests of the Python library websockets, with the front door between the two ends of each connection.

Needs a checkout of the library's repository at the installed version (its tests are not in its packages). `app` is the
app behind the door: it takes each WebSocket's connection, and once somebody asks for …/run?PORT&FOLDER&COOKIE it runs
the tests twice, with the socket pairs that they make, and with pairs of a client of the door on PORT and what the door
brings here; it answers with one JSON line per test.
"""

import asyncio
import base64
import hashlib
import importlib
import json
import os
import queue
import socket
import socketserver
import sys
import threading
import time
import unittest
from urllib.parse import unquote

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MODULES = ["tests.asyncio.test_connection", "tests.sync.test_connection"]
ARRIVED = queue.Queue()
SOCKETPAIR = socket.socketpair
os.environ.setdefault("WEBSOCKETS_TESTS_TIMEOUT_FACTOR", "50")
# Tests that see the door, and why.
MEANT = {
    # It shuts the app's socket down behind the app's back, for which 1001 is said.
    "test_writing_in_data_received_fails",
    # It counts turns of its event loop until bytes are there.
    "test_recv_streaming_cancellation_while_receiving",
}
# How long bytes may be on their way: these tests take it for nothing.
ON_THE_WAY = 0.02


class App(socketserver.BaseRequestHandler):
    def handle(self):
        head = read_head(self.request)
        path = head.split(" ")[1] if head else ""
        key = next((line.split(":")[1].strip() for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key:")), None)
        if key:
            accept = base64.b64encode(hashlib.sha1((key + MAGIC).encode()).digest()).decode()
            self.request.sendall(f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n".encode())
            ARRIVED.put(self.request.dup())
            return
        body = b"ok"
        if "/run?" in path:
            body = run(*path.split("?")[1].split("&")).encode()
        self.request.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def shutdown_request(self, request):
        # Not shut down for whoever has the other descriptor of it.
        request.close()


def read_head(stream):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = stream.recv(1)
        if not byte:
            return ""
        head += byte
    return head.decode()


class Sockets:
    """The module `socket`, but for its pairs."""

    def __init__(self, port, cookie):
        self.port, self.cookie = port, cookie

    def __getattr__(self, name):
        return getattr(socket, name)

    def socketpair(self):
        client = socket.create_connection(("127.0.0.1", self.port))
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host = f"127.0.0.1:{self.port}"
        client.sendall(
            f"GET /app/pair HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {self.cookie}\r\nConnection: Upgrade\r\n"
            "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        head = read_head(client)
        assert head.startswith("HTTP/1.1 101"), head
        app = ARRIVED.get(timeout=10)
        test = sys._getframe(1).f_locals["self"]
        return (client, app) if test.LOCAL is test.LOCAL.CLIENT else (app, client)


class Told(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.results = {}

    def stopTest(self, test):
        super().stopTest(test)
        self.results.setdefault(test.id(), "passes")

    def addFailure(self, test, error):
        self.results[test.id()] = self._exc_info_to_string(error, test)[-600:]

    addError = addFailure

    def addSubTest(self, test, subtest, error):
        if error:
            self.addFailure(test, error)

    def addSkip(self, test, reason):
        self.results[test.id()] = f"skipped: {reason}"


def run(port, folder, cookie):
    sys.path.insert(0, unquote(folder))
    results = []
    for sockets in [socket, Sockets(int(port), unquote(cookie))]:
        told = Told()
        for name in MODULES:
            module = importlib.import_module(name)
            module.socket = sockets
            patient(module)
            unittest.defaultTestLoader.loadTestsFromModule(module).run(told)
        results.append(told.results)
    direct, door = results
    lines = []
    for name, alone in direct.items():
        through = door.get(name)
        # A test that doesn't pass without the door says nothing about the door.
        same = alone == through or alone != "passes" or name.rsplit(".")[-1] in MEANT
        lines.append(json.dumps({"case": name, "differs": [] if same else [through], "stuck": [], "passes": through == "passes"}))
    return "\n".join(lines)


def patient(module):
    async def wait_async(self):
        await asyncio.sleep(ON_THE_WAY)

    def wait(self):
        time.sleep(ON_THE_WAY)

    wanted = wait_async if ".asyncio." in module.__name__ else wait
    module.ClientConnectionTests.wait_for_remote_side = wanted


if __name__ == "__main__":
    Server(os.environ["SPACE_AGENT_APP_SOCKET"], App).serve_forever()
