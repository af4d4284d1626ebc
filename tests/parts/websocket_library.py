"""The Python library websockets on both sides: is what it sees through the front door the same as without?

`app` serves on $SPACE_AGENT_APP_SOCKET; `compare` does each of its cases once directly on that socket and once through
the front door, and prints one JSON line per case with what differs. Its last line has how long the largest message took.
"""

import asyncio
import hashlib
import json
import os
import sys
import time

from websockets.asyncio.client import connect, unix_connect
from websockets.asyncio.server import unix_serve
from websockets.exceptions import ConnectionClosed

PATIENCE = 120
CASES = []


async def serve(socket):
    kind, _, argument = socket.request.path.rpartition("/app/")[2].partition("/")
    if kind == "close":
        code, reason = argument.split("/")
        await socket.close(int(code), reason)
    elif kind == "push":
        await asyncio.gather(*(socket.send(f"{nth}") for nth in range(int(argument))))
    elif kind == "ping":
        await asyncio.gather(*[await socket.ping() for _ in range(int(argument))])
        await socket.send("all answered")
    elif kind == "fragments":
        async for message in socket:
            size = max(1, len(message) // int(argument))
            await socket.send([message[at : at + size] for at in range(0, len(message), size)])
    else:
        async for message in socket:
            await socket.send(message)


def choose(socket, offered):
    return next((known for known in ["v2", "v1"] if known in offered), None)


async def app():
    options = {"max_size": None, "select_subprotocol": choose, "ping_interval": 0.5, "ping_timeout": PATIENCE}
    async with unix_serve(serve, os.environ["SPACE_AGENT_APP_SOCKET"], **options) as server:
        await server.serve_forever()


def case(name, path="echo", **options):
    def add(play):
        CASES.append((name, path, {"max_size": None} | options, play))

    return add


def brief(message):
    data = message.encode() if isinstance(message, str) else message
    return [type(message).__name__, len(data), hashlib.sha256(data).hexdigest()[:16]]


def text(length):
    return ("zażółć gęślą jaźń 😀 " * (length // 20 + 1))[:length]


def data(length):
    return hashlib.shake_128(b"%d" % length).digest(length)


def echoes(compression):
    for length in [0, 1, 125, 126, 127, 4096, 65535, 65536, 300_000]:
        for message in [text(length), data(length), bytes(length)]:
            async def play(socket, message=message):
                await socket.send(message)
                return brief(await socket.recv())

            case(f"{type(message).__name__} of {length}, {compression}", compression=compression)(play)
    for parts in [1, 2, 7, 100]:
        for message in [text(10_000), data(10_000)]:
            async def play(socket, message=message, parts=parts):
                size = len(message) // parts
                await socket.send([message[at : at + size] for at in range(0, len(message), size)])
                return brief(await socket.recv())

            case(f"{type(message).__name__} in {parts} parts, {compression}", compression=compression)(play)

            async def play_back(socket, message=message):
                await socket.send(message)
                return [brief(part) async for part in socket.recv_streaming()]

            case(f"{type(message).__name__} back in {parts} parts, {compression}", f"fragments/{parts}", compression=compression)(play_back)

    @case(f"200 messages of 20 at once, {compression}", compression=compression)
    async def many(socket):
        async def one(nth):
            await asyncio.gather(*(socket.send(f"{nth}-{number}") for number in range(10)))

        await asyncio.gather(*(one(nth) for nth in range(20)))
        return sorted([await socket.recv() for _ in range(200)])

    @case(f"500 messages of the app, {compression}", "push/500", compression=compression)
    async def pushed(socket):
        return [message async for message in socket]


def pings():
    for payload in [None, b"", b"x", b"twelve bytes", b"x" * 125]:
        @case(f"ping {payload}")
        async def ping(socket, payload=payload):
            took = await asyncio.wait_for(await socket.ping(payload), 10)
            await socket.send("still")
            return [took >= 0, await socket.recv()]

    @case("20 pings of the app", "ping/20")
    async def asked(socket):
        return await socket.recv()

    @case("pings of both libraries beside messages", ping_interval=0.05)
    async def beside(socket):
        for nth in range(20):
            await socket.send(str(nth))
            await socket.recv()
            await asyncio.sleep(0.05)
        return socket.latency > 0


def closes():
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1011, 1012, 1013, 3000, 4999]:
        @case(f"the app closes with {code}", f"close/{code}/enough")
        async def closed(socket):
            return await end(socket)

        @case(f"the client closes with {code}")
        async def close(socket, code=code):
            await socket.close(code, "so long")
            return [socket.close_code, socket.close_reason]

    @case("text that is none")
    async def wrong(socket):
        await socket.send(b"\xff\xfe", text=True)
        return await end(socket)

    @case("a message that is too large for the client", max_size=1000)
    async def large(socket):
        await socket.send("x" * 2000)
        return await end(socket)

    for offered in [["v1"], ["v2", "v1"], ["v1", "v2"], ["v3", "v1"]]:
        @case(f"subprotocols {offered}", subprotocols=offered)
        async def chosen(socket):
            return [socket.subprotocol, socket.response.headers["Sec-WebSocket-Extensions"]]


async def end(socket):
    try:
        while True:
            await socket.recv()
    except ConnectionClosed as closed:
        return [str(closed.rcvd), str(closed.sent), closed.rcvd_then_sent]


def largest(length, compression):
    message = data(length) if compression is None else bytes(length)

    async def play(socket):
        begin = time.monotonic()
        sending = asyncio.create_task(socket.send(message))
        got = await socket.recv()
        await sending
        TOOK.setdefault(str(compression), []).append(time.monotonic() - begin)
        return got == message

    case(f"a message of {length}, {compression}", compression=compression)(play)


TOOK = {}


async def once(options, play, opened):
    async with asyncio.timeout(PATIENCE):
        async with opened(**options) as socket:
            return await play(socket)


async def compare(unix, port, base, cookie):
    for name, path, options, play in CASES:
        host = f"127.0.0.1:{port}"

        def direct(**options):
            return unix_connect(unix, f"ws://{host}{base}app/{path}", **options)

        def door(**options):
            headers = {"Cookie": cookie} if cookie else {}
            return connect(f"ws://{host}{base}app/{path}", origin=f"http://{host}", additional_headers=headers, proxy=None, **options)

        told = []
        for opened in [direct, door]:
            try:
                told.append(await once(options, play, opened))
            except Exception as error:
                told.append(f"{type(error).__name__}: {error}")
        differs = [] if told[0] == told[1] else [f"direct {told[0]}, through the door {told[1]}"]
        broken = [told[0]] if isinstance(told[0], str) and ": " in told[0] else []
        print(json.dumps({"case": name, "differs": differs, "stuck": broken}), flush=True)
    print(json.dumps({"took": TOOK}))


if __name__ == "__main__":
    if sys.argv[1] == "app":
        asyncio.run(app())
    else:
        length = int(sys.argv[6])
        echoes(None)
        echoes("deflate")
        pings()
        closes()
        largest(length, None)
        largest(length, "deflate")
        asyncio.run(compare(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5]))
