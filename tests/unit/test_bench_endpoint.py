"""The endpoint of the REST measurement answers whole requests, and tells them apart."""

import asyncio
import json

from bench.endpoint import Connection, Tally


class Transport(asyncio.WriteTransport):
    """Keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: asyncio.Queue[bytes] = asyncio.Queue()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.put_nowait(bytes(data))

    def is_closing(self) -> bool:
        return False


def command(key: str) -> bytes:
    return f"POST / HTTP/1.1\r\nIdempotency-Key: {key}\r\nContent-Length: 4\r\n\r\n{{..}}".encode()


async def test_a_request_in_parts_is_answered_once_it_is_complete() -> None:
    transport, tally = Transport(), Tally()
    connection = Connection(0.0, tally)
    connection.connection_made(transport)
    for part in (command("a")[:20], command("a")[20:-2]):
        connection.data_received(part)
    await asyncio.sleep(0)
    assert transport.written.empty()
    connection.data_received(command("a")[-2:])
    assert (await transport.written.get()).startswith(b"HTTP/1.1 204 ")


async def test_a_repeated_command_counts_once_among_the_different_ones() -> None:
    transport, tally = Transport(), Tally()
    connection = Connection(0.0, tally)
    connection.connection_made(transport)
    for key in ("a", "b", "a"):
        connection.data_received(command(key))
        await transport.written.get()
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    told = json.loads((await transport.written.get()).partition(b"\r\n\r\n")[2])
    assert told == {"answered": 3, "different": 2}
