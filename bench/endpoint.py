"""The endpoint of a REST channel: answers each command after a while, whatever else it gets meanwhile.

A process of its own: `python -m bench.endpoint --port=N --answer-ms=N`. Commands get `204 No Content`; `GET` is
answered at once with how many commands have been answered, and how many of these were different ones, by their
`Idempotency-Key`. Bare asyncio, so that it takes as little of the machine as can be.
"""

import argparse
import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

from bench.bare import loop_factory
from dev.addresses import LOOPBACK

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_KEY = re.compile(rb"\r\nidempotency-key: *([^\r]+)", re.IGNORECASE)
_DONE = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(slots=True)
class Tally:
    """What has been answered."""

    answered: int = 0
    keys: set[bytes] = field(default_factory=set[bytes])


class Connection(asyncio.Protocol):
    """One client; it waits for an answer before it asks again."""

    def __init__(self, answer_seconds: float, tally: Tally) -> None:
        self._answer_seconds = answer_seconds
        self._tally = tally
        self._received = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = cast("asyncio.WriteTransport", transport)  # uvloop's own is none by its class

    def data_received(self, data: bytes) -> None:
        """Take a request once it is complete."""
        self._received += data
        head, is_complete, body = self._received.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not is_complete or len(body) < (int(length[1]) if length else 0):
            return
        self._received = b""
        if head.startswith(b"GET "):
            self._tell()
        else:
            key = _KEY.search(head)
            assert key is not None
            asyncio.get_running_loop().call_later(self._answer_seconds, self._answer, key[1])

    def _answer(self, key: bytes) -> None:
        self._tally.answered += 1
        self._tally.keys.add(key)
        self._write(_DONE)

    def _tell(self) -> None:
        body = json.dumps({"answered": self._tally.answered, "different": len(self._tally.keys)}).encode()
        self._write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    def _write(self, answer: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def serve(port: int, answer_ms: int) -> None:
    """Until cancelled."""
    tally = Tally()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(answer_ms / 1000, tally), LOOPBACK, port, backlog=1024
    )
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.endpoint")
    for name in ("port", "answer-ms"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options = parse()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(options.port, options.answer_ms))
