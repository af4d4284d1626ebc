"""An app that answers on its socket, and eats memory without end once somebody asks for …/eat."""

import http.server
import os
import socketserver
import time


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        held = []
        while self.path.endswith("/eat"):
            held.append(b"x" * 5_000_000)
            time.sleep(0.05)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


Server(os.environ["SPACE_AGENT_APP_SOCKET"], Handler).serve_forever()
