"""WebSockets byte by byte: is a tunnel through the front door the same as none?

A table of cases, each a play for two: what the client and the app write, in turn, as raw bytes; each waits for all that
the other has written before its own next line. `app` serves the app's part on $SPACE_AGENT_APP_SOCKET; `compare` plays
the client's part of every case once directly on that socket and once through the front door, and prints one JSON line
per case: what differs between the two in what client and app got and in how it ended, or nothing.

One difference is meant: an app that ends between two frames without a close frame has one (1001) said for it.
"""

import base64
import hashlib
import json
import os
import random
import socket
import socketserver
import struct
import sys
import threading
import zlib

MAGIC = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATIENCE = 20
GOING_AWAY = b"\x88\x02\x03\xe9"
MASK = bytes([0x37, 0xFA, 0x21, 0x3D])
TEXT, BINARY, CLOSE, PING, PONG = 0x81, 0x82, 0x88, 0x89, 0x8A


def frame(first, payload=b"", mask=None, form=None):
    """A frame; `form` forces a longer way to write the length: 126 or 127."""
    length, bit = len(payload), 0x80 if mask is not None else 0
    if form == 127 or length > 0xFFFF:
        head = bytes([first, bit | 127]) + struct.pack("!Q", length)
    elif form == 126 or length > 125:
        head = bytes([first, bit | 126]) + struct.pack("!H", length)
    else:
        head = bytes([first, bit | length])
    if mask is None:
        return head + payload
    turned = bytes(byte ^ mask[nth % 4] for nth, byte in enumerate(payload)) if any(mask) else payload
    return head + mask + turned


def c(first, payload=b"", mask=MASK, form=None):
    return ("c", frame(first, payload, mask, form))


def s(first, payload=b"", mask=None, form=None):
    return ("s", frame(first, payload, mask, form))


def both(first, payload=b""):
    """The client says it, the app says it back."""
    return [c(first, payload), s(first, payload)]


GOODBYE = [c(CLOSE, b"\x03\xe8"), s(CLOSE, b"\x03\xe8"), ("s", "end")]


def lengths(add):
    for length in [0, 1, 2, 5, 124, 125, 126, 127, 128, 255, 256, 4095, 4096, 4097, 65534, 65535, 65536, 65537, 200000]:
        payload = (bytes(range(251)) * (length // 251 + 1))[:length]
        add(f"text of {length}", both(TEXT, b"a" * length) + GOODBYE)
        add(f"binary of {length}", both(BINARY, payload) + GOODBYE)
    for form, length in [(126, 0), (126, 5), (126, 125), (127, 0), (127, 5), (127, 126), (127, 65535)]:
        for name, say in [("client", c), ("app", s)]:
            add(f"{name}: length of {length} written as {form}", [say(BINARY, b"x" * length, form=form)] + GOODBYE)


def control(add):
    for length in [0, 1, 4, 8, 11, 12, 13, 124, 125]:
        payload = (b"0123456789ab" * 11)[:length]
        add(f"ping of {length} by the client", [c(PING, payload), s(PONG, payload)] + GOODBYE)
        add(f"ping of {length} by the app", [s(PING, payload), c(PONG, payload)] + GOODBYE)
        add(f"pong of {length} unasked", [c(PONG, payload), s(PONG, payload)] + GOODBYE)
    add("ten pings, one pong", [s(PING, bytes([n])) for n in range(10)] + [c(PONG, b"\x09")] + GOODBYE)
    add("ten pings, ten pongs", [s(PING, bytes([n])) for n in range(10)] + [c(PONG, bytes([n])) for n in range(10)] + GOODBYE)


def closes(add):
    good = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    bad = [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535]
    for first, second, name in [(c, s, "client"), (s, c, "app")]:
        for code in good + bad:
            said = struct.pack("!H", code)
            for reason in [b"", b"so long"]:
                add(f"close {code} {reason.decode()} by the {name}", [first(CLOSE, said + reason), second(CLOSE, said), ("s", "end")])
        for payload in [b"", b"\x03", b"\x03\xe8" + b"r" * 123, b"\x03\xe8\xff\xfe"]:
            add(f"close of {payload[:4].hex()}+{len(payload)} by the {name}", [first(CLOSE, payload), second(CLOSE, b""), ("s", "end")])
        add(f"data behind the close of the {name}", [first(CLOSE, b"\x03\xe8"), first(TEXT, b"late"), second(CLOSE, b"\x03\xe8"), ("s", "end")])
        add(f"two closes of the {name}", [first(CLOSE, b"\x03\xe8"), first(CLOSE, b"\x03\xe9"), ("s", "end")])
    add("both close at once", [("c", frame(CLOSE, b"\x03\xe8", MASK)), ("s", frame(CLOSE, b"\x03\xe9")), ("s", "end")])
    add("a close in the middle of a message", [c(0x01, b"half"), c(CLOSE, b"\x03\xe8"), s(CLOSE, b"\x03\xe8"), ("s", "end")])


def fragments(add):
    for count in [2, 3, 5, 20]:
        pieces = [(0x01, b"p0")] + [(0x00, b"p%d" % n) for n in range(1, count - 1)] + [(0x80, b"end")]
        for name, say, other in [("client", c, s), ("app", s, c)]:
            add(f"{name}: {count} fragments", [say(*piece) for piece in pieces] + GOODBYE)
            between = [line for piece in pieces for line in (say(*piece), say(PING, b"?"), other(PONG, b"?"))]
            add(f"{name}: {count} fragments with pings between", between + GOODBYE)
            crossed = [line for piece in pieces for line in (say(*piece), other(TEXT, b"meanwhile"))]
            add(f"{name}: {count} fragments, messages of the other meanwhile", crossed + GOODBYE)
            add(f"{name}: {count} fragments at once", [("c" if say is c else "s", b"".join(say(*p)[1] for p in pieces))] + GOODBYE)
    for name, say in [("client", c), ("app", s)]:
        add(f"{name}: empty fragments", [say(0x01), say(0x00), say(0x80)] + GOODBYE)
        word = "κ€😀".encode()
        for cut in range(len(word) + 1):
            add(f"{name}: utf-8 parted at {cut}", [say(0x01, word[:cut]), say(0x80, word[cut:])] + GOODBYE)
        for wrong in [b"\xce\xba\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\xaf", b"\xff", b"\xf0\x90"]:
            other = c if say is s else s
            add(f"{name}: utf-8 that is none: {wrong.hex()}", [say(TEXT, wrong), other(CLOSE, b"\x03\xef"), ("s", "end")])


def masks(add):
    for mask in [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x81\x02\x88\x8a", b"\x8a\x8c\0\0", b"\0\0\0\x01"]:
        for length in [0, 3, 126, 66000]:
            add(f"mask {mask.hex()}, {length} bytes", [c(BINARY, b"m" * length, mask=mask)] + GOODBYE)


def pieces(add):
    stream = b"".join([frame(0x01, b"one", MASK), frame(PING, b"ping", MASK), frame(0x80, b"two", MASK),
                       frame(PONG, b"0123456789ab", MASK), frame(BINARY, bytes(300), MASK)])
    back = b"".join([frame(0x01, b"one"), frame(PING, b"ping"), frame(0x80, b"two"), frame(BINARY, bytes(300))])
    for size in [1, 2, 3, 4, 5, 6, 7, 11, 13, 17, 64]:
        add(f"client: pieces of {size}", [("c", stream, size)] + GOODBYE)
        add(f"app: pieces of {size}", [("s", back, size)] + GOODBYE)
    for cut in range(1, 15):
        add(f"client: a header parted at {cut}", [("c", frame(BINARY, bytes(66000), MASK)[:cut]), ("c", frame(BINARY, bytes(66000), MASK)[cut:])] + GOODBYE)


def invalid(add):
    judged = [s(CLOSE, b"\x03\xea"), ("s", "end")]
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]:
        add(f"client: opcode {opcode}", [c(0x80 | opcode, b"x")] + judged)
        add(f"app: opcode {opcode}", [s(0x80 | opcode, b"x"), c(CLOSE, b"\x03\xea"), ("s", "end")])
    for bits in range(0x10, 0x80, 0x10):
        add(f"client: reserved bits {bits >> 4:03b}", [c(TEXT | bits, b"x")] + judged)
        add(f"app: reserved bits {bits >> 4:03b}", [s(TEXT | bits, b"x"), c(CLOSE, b"\x03\xea"), ("s", "end")])
        add(f"client: ping with reserved bits {bits >> 4:03b}", [c(PING | bits, b"x")] + judged)
    for name, lines in [
        ("unmasked", [c(TEXT, b"bare", mask=None)]),
        ("a ping of 126", [c(PING, b"x" * 126)]),
        ("a close of 126", [c(CLOSE, b"\x03\xe8" + b"x" * 124)]),
        ("a pong in fragments", [c(0x0A, b"x"), c(0x80, b"y")]),
        ("a ping in fragments", [c(0x09, b"x")]),
        ("a continuation of nothing", [c(0x80, b"x")]),
        ("a continuation of nothing that goes on", [c(0x00, b"x"), c(0x80, b"x")]),
        ("a message within a message", [c(0x01, b"x"), c(TEXT, b"y")]),
        ("a length with its highest bit", [("c", b"\x82\xff\x80\0\0\0\0\0\0\0" + MASK + b"x")]),
        ("an HTTP request", [("c", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")]),
        ("zeros", [("c", bytes(100))]),
    ]:
        add(f"client: {name}", lines + judged)
    add("app: masked", [s(TEXT, b"masked", mask=MASK), c(CLOSE, b"\x03\xea"), ("s", "end")])
    add("app: an HTTP answer", [("s", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"), c(CLOSE, b"\x03\xea"), ("s", "end")])
    chance = random.Random(6455)
    for nth in range(40):
        there, back = (chance.randbytes(chance.randrange(1, 300)) for _ in "cs")
        # A beginning that is a frame, so that the wild bytes come at any place.
        add(f"wild bytes {nth}", both(TEXT, b"x" * nth) + [("c", there, 1 + nth % 7), ("s", b"\xff" + back), ("s", "end")])


def ends(add):
    add("the client ends first", [c(TEXT, b"last words"), ("c", "half"), s(TEXT, b"an answer still"), s(CLOSE, b"\x03\xe8"), ("s", "end")])
    add("the client ends at once", [("c", "half"), s(CLOSE, b"\x03\xe8"), ("s", "end")])
    add("the client ends in a frame", [("c", frame(TEXT, b"whole", MASK)[:7]), ("c", "half"), s(CLOSE, b"\x03\xe8"), ("s", "end")])
    add("the app ends first, after its close", [s(CLOSE, b"\x03\xe8"), ("s", "half"), c(CLOSE, b"\x03\xe8"), ("c", "half")])
    add("the app ends in a frame", [("s", b"\x81\x05hel"), ("s", "end")])
    add("the app ends behind a frame", [s(TEXT, b"whole"), ("s", "end")])
    add("the app ends at once", [("s", "end")])
    add("the app ends between fragments", [s(0x01, b"half"), ("s", "end")])
    add("the app ends for reading only", [s(TEXT, b"whole"), ("s", "half"), c(TEXT, b"heard"), ("c", "half")])
    add("the client is gone", [c(TEXT, b"here"), ("c", "reset")])
    add("the client is gone in a frame", [("c", b"\x81\x85\0\0\0\0he"), ("c", "reset")])
    add("the app is gone", [s(TEXT, b"here"), ("s", "reset")])


def deflated(add):
    offer = "permessage-deflate; client_max_window_bits"
    for taken in ["permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"]:
        for length in [0, 5, 300, 70000]:
            packed = [zlib.compressobj(9, zlib.DEFLATED, -15) for _ in range(2)]
            there, back = (p.compress(b"compress me " * (length // 12)) + p.flush(zlib.Z_SYNC_FLUSH) for p in packed)
            lines = [c(0xC1, there[:-4]), s(0xC1, back[:-4]), c(0x41, there[:3]), c(0x80, there[3:-4])] + GOODBYE
            add(f"{taken} of {length}", lines, extensions=(offer, taken))
    add("permessage-deflate offered and not taken", both(TEXT, b"plain") + GOODBYE, extensions=(offer, None))
    add("permessage-deflate with a bit that nobody agreed to", [c(0xC1, b"x"), s(CLOSE, b"\x03\xea"), ("s", "end")], extensions=(offer, None))
    for offered, taken in [("chat", "chat"), ("chat, superchat", "superchat"), ("chat", None), (None, None)]:
        add(f"subprotocol {taken} of {offered}", both(TEXT, b"plain") + GOODBYE, protocol=(offered, taken))


def early(add):
    add("the app's first frame comes with its 101", [("s", frame(TEXT, b"first"), "early")] + both(TEXT, b"x") + GOODBYE)
    add("much of the app comes with its 101", [("s", frame(BINARY, bytes(100000)), "early")] + both(TEXT, b"x") + GOODBYE)
    add("half a frame comes with the 101", [("s", b"\x81\x05he", "early"), ("s", b"llo")] + both(TEXT, b"x") + GOODBYE)
    add("the client's first frame comes with its handshake", [("c", frame(TEXT, b"first", MASK), "early")] + both(TEXT, b"x") + GOODBYE)
    add("half a frame comes with the handshake", [("c", frame(TEXT, b"first", MASK)[:5], "early"), ("c", frame(TEXT, b"first", MASK)[5:])] + GOODBYE)


def table():
    cases = []

    def add(name, lines, extensions=(None, None), protocol=(None, None)):
        cases.append({"name": name, "lines": lines, "extensions": extensions, "protocol": protocol})

    for part in [lengths, control, closes, fragments, masks, pieces, invalid, ends, deflated, early]:
        part(add)
    return cases


CASES = table()


class Side:
    """One of the two, with all that it gets."""

    def __init__(self, name, stream, read=b""):
        self.name, self.stream, self.got, self.end = name, stream, bytearray(read), None
        stream.settimeout(PATIENCE)

    def play(self, lines):
        expected = 0
        try:
            for line in lines:
                if line[0] == self.name:
                    if "early" not in line:
                        self.say(line[1], *line[2:])
                elif isinstance(line[1], bytes):
                    expected += len(line[1])
                    while len(self.got) < expected and self.read():
                        pass
            while self.end is None and self.read():
                pass
        except OSError as error:
            self.end = self.end or type(error).__name__
        self.stream.close()

    def say(self, what, size=None):
        if what == "end":
            self.end = "itself"
            # Read what is there, so that the close is none that resets.
            self.stream.shutdown(socket.SHUT_WR)
            while self.stream.recv(65536):
                pass
        elif what == "half":
            self.stream.shutdown(socket.SHUT_WR)
        elif what == "reset":
            self.end = "itself"
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.stream.close()
        else:
            for at in range(0, len(what), size or max(len(what), 1)):
                self.stream.sendall(what[at : at + (size or len(what))])

    def read(self):
        """False at the end, of whatever kind."""
        try:
            data = self.stream.recv(65536)
        except TimeoutError:
            self.end = "nothing came"
            return False
        except OSError:
            data = b""
        self.got += data
        if not data:
            self.end = "end"
        return bool(data)

    def told(self):
        got = bytes(self.got)
        return {"length": len(got), "sha256": hashlib.sha256(got).hexdigest(), "begin": got[:64].hex(), "last": got[-64:].hex(), "end": self.end}


def early_of(case, side):
    return b"".join(line[1] for line in case["lines"] if line[0] == side and "early" in line)


TOLD, LOCK = {}, threading.Lock()


class App(socketserver.BaseRequestHandler):
    def handle(self):
        read = b""
        while b"\r\n\r\n" not in read:
            data = self.request.recv(65536)
            if not data:
                return
            read += data
        head, rest = read.split(b"\r\n\r\n", 1)
        path = head.split(b" ")[1].decode()
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])}
        if "/case/" in path:
            number, way = path.split("/case/")[1].split("/")
            side = self.case(CASES[int(number)], headers, rest)
            with LOCK:
                TOLD[f"{number}/{way}"] = side.told()
            return
        with LOCK:
            body = json.dumps(TOLD).encode()
        self.request.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    def case(self, case, headers, rest):
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + MAGIC).encode()).digest()).decode()
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {accept}"]
        if case["extensions"][1]:
            lines.append(f"Sec-WebSocket-Extensions: {case['extensions'][1]}")
        if case["protocol"][1]:
            lines.append(f"Sec-WebSocket-Protocol: {case['protocol'][1]}")
        self.request.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + early_of(case, "s"))
        side = Side("s", self.request, rest)
        side.play(case["lines"])
        return side


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


def app():
    Server(os.environ["SPACE_AGENT_APP_SOCKET"], App).serve_forever()


def handshake(case, path, host, cookie):
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", f"Origin: http://{host}", "Connection: Upgrade", "Upgrade: websocket",
             "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    if cookie:
        lines.append(f"Cookie: {cookie}")
    if case["extensions"][0]:
        lines.append(f"Sec-WebSocket-Extensions: {case['extensions'][0]}")
    if case["protocol"][0]:
        lines.append(f"Sec-WebSocket-Protocol: {case['protocol'][0]}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def client(case, stream, request):
    stream.settimeout(PATIENCE)
    stream.sendall(request + early_of(case, "c"))
    read = b""
    while b"\r\n\r\n" not in read:
        data = stream.recv(65536)
        if not data:
            return {"head": read.decode(errors="replace")}
        read += data
    head, rest = read.split(b"\r\n\r\n", 1)
    # Names of headers have no case and no order, and the door may say what time it is.
    lines = head.decode().split("\r\n")
    headers = (line.partition(":") for line in lines[1:] if not line.lower().startswith("date:"))
    head = lines[:1] + sorted(name.lower() + ":" + value for name, _, value in headers)
    side = Side("c", stream, rest)
    side.play(case["lines"])
    return side.told() | {"head": head, "got": bytes(side.got)}


def meant(case, direct, door):
    """The close frame that is said for an app which ends without one, where it may go."""
    ended = direct["got"] + GOING_AWAY == door["got"] and case["name"].startswith("the app")
    return {**direct, **{key: door[key] for key in ["got", "length", "sha256", "begin", "last"]}} if ended else direct


def compare(unix, port, base, cookie):
    answers = []
    for number, case in enumerate(CASES):
        told = []
        for way in ["direct", "door"]:
            if way == "direct":
                stream = socket.socket(socket.AF_UNIX)
                stream.connect(unix)
            else:
                stream = socket.create_connection(("127.0.0.1", port))
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            request = handshake(case, f"{base}case/{number}/{way}", f"127.0.0.1:{port}", cookie if way == "door" else None)
            told.append(client(case, stream, request))
        answers.append(told)
    apps = transcripts(unix)
    for number, (case, (direct, door)) in enumerate(zip(CASES, answers)):
        if "got" in direct and "got" in door:
            direct = meant(case, direct, door)
        direct, door = ({key: value for key, value in told.items() if key != "got"} for told in (direct, door))
        pairs = [("client", direct, door), ("app", apps.get(f"{number}/direct"), apps.get(f"{number}/door"))]
        differs = [f"{who}: direct {one}, through the door {two}" for who, one, two in pairs if one is None or one != two]
        stuck = [who for who, one, _ in pairs if one and one.get("end") == "nothing came"]
        print(json.dumps({"case": case["name"], "differs": differs, "stuck": stuck}))


def transcripts(unix):
    """Of the app, once all its parts are played."""
    while True:
        with socket.socket(socket.AF_UNIX) as stream:
            stream.settimeout(PATIENCE)
            stream.connect(unix)
            stream.sendall(b"GET /told HTTP/1.1\r\nHost: x\r\n\r\n")
            with stream.makefile("rb") as file:
                body = file.read().split(b"\r\n\r\n", 1)[1]
        told = json.loads(body)
        if len(told) >= 2 * len(CASES) or transcripts.tries > 200:
            return told
        transcripts.tries += 1
        threading.Event().wait(0.05)


transcripts.tries = 0

if __name__ == "__main__":
    if sys.argv[1] == "app":
        app()
    else:
        compare(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
