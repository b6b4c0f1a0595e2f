"""The load of an HTTP round: connections that create sagas one after the other, each as soon as its last is answered.

A process of its own. Prints one line of JSON: `{"requests_per_second": ..., "latencies_ms": [...]}`; the first seconds
do not count. Any answer but 200 ends it.
"""

import argparse
import asyncio
import gc
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench.bare import loop_factory

_BODY = json.dumps(
    {
        "associatedEntityId": "order-0042",
        "metadata": {
            "orderId": "order-0042",
            "customer": {"id": "customer-004711", "email": "erika@example.org"},
            "items": [{"sku": "FM-0042", "quantity": 2, "priceCents": 1999}],
        },
    }
).encode()
_REQUEST = b"POST /saga HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (
    len(_BODY),
    _BODY,
)
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where to, from how many connections, for how long."""

    port: int
    connections: int
    seconds: int
    warm_seconds: int


async def run(settings: Settings) -> dict[str, object]:
    """Send requests for that long; returns the figures. Raises RuntimeError for an answer that is no success."""
    counted_from = time.monotonic() + settings.warm_seconds
    until = counted_from + settings.seconds
    latencies: list[float] = []

    async def connection() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.port)
        try:
            while (began := time.monotonic()) < until:
                await create_saga(reader, writer)
                if began >= counted_from:
                    latencies.append(time.monotonic() - began)
        finally:
            writer.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(settings.connections):
            group.create_task(connection())
    return {
        "requests_per_second": len(latencies) / settings.seconds,
        "latencies_ms": [round(latency * 1000, 2) for latency in latencies],
    }


async def create_saga(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """`POST /saga` on an open connection; the answer's body. Raises RuntimeError for an answer that is no success."""
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next(int(line[len(_LENGTH) :]) for line in lines if line.startswith(_LENGTH))
    body = await reader.readexactly(length)
    if b" 200 " not in lines[0]:
        raise RuntimeError(f"{lines[0].decode()}: {body.decode(errors='replace')}")
    return body


def parse(arguments: Sequence[str] | None = None) -> Settings:
    """The settings in a command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.http_load")
    for name in ("port", "connections", "seconds", "warm-seconds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    return Settings(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    gc.disable()  # it lives for half a minute, and a collection would show up as latency
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        print(json.dumps(runner.run(run(parse()))))
