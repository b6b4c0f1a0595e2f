"""Two requests of the Kafka protocol on a plain socket: enough to know that a broker serves, with no client library.

Versions are the lowest that every broker from 2.x to 4.x accepts: ApiVersions 0 and Metadata 2.
"""

import socket
import struct

_API_VERSIONS = 18
_METADATA = 3
_CORRELATION_ID = 1
_RESPONSE_BYTES_MAX = 1 << 20  # both answers are a few KiB; anything larger is not a Kafka broker


class NotKafkaError(OSError):
    """Something listens there, but it does not answer like a Kafka broker."""


def fetch_api_keys(host: str, port: int, *, timeout_seconds: float = 2.0) -> frozenset[int]:
    """Ask which requests the broker understands; OSError when it does not answer."""
    body = _exchange(host, port, _API_VERSIONS, 0, b"", timeout_seconds)
    error, count = struct.unpack_from(">hi", body)
    if error != 0:
        message = f"{host}:{port} answered ApiVersions with error {error}"
        raise NotKafkaError(message)
    return frozenset(struct.unpack_from(">h", body, 6 + 6 * index)[0] for index in range(count))


def fetch_broker_ids(
    host: str, port: int, *, cluster_id: str | None = None, timeout_seconds: float = 2.0
) -> frozenset[int]:
    """Ask which brokers this broker believes registered and alive.

    OSError when it does not answer, or belongs to another cluster than the given one.
    """
    no_topics = struct.pack(">i", 0)
    body = _exchange(host, port, _METADATA, 2, no_topics, timeout_seconds)
    (count,) = struct.unpack_from(">i", body)
    position = 4
    ids: set[int] = set()
    for _ in range(count):
        (node_id,) = struct.unpack_from(">i", body, position)
        ids.add(node_id)
        position = _skip_string(body, position + 4)  # host
        position = _skip_string(body, position + 4)  # port, rack
    found = body[position + 2 : _skip_string(body, position)].decode()
    if cluster_id is not None and found != cluster_id:
        message = f"{host}:{port} belongs to cluster {found}, not {cluster_id}"
        raise NotKafkaError(message)
    return frozenset(ids)


def _skip_string(body: bytes, position: int) -> int:
    (length,) = struct.unpack_from(">h", body, position)
    return position + 2 + max(int(length), 0)


def _exchange(host: str, port: int, api_key: int, api_version: int, body: bytes, timeout_seconds: float) -> bytes:
    request = struct.pack(">hhih", api_key, api_version, _CORRELATION_ID, -1) + body
    with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (size,) = struct.unpack(">i", _read_exactly(connection, 4))
        if not 4 <= size <= _RESPONSE_BYTES_MAX:
            message = f"{host}:{port} does not speak the Kafka protocol"
            raise NotKafkaError(message)
        response = _read_exactly(connection, size)
    if struct.unpack_from(">i", response) != (_CORRELATION_ID,):
        message = f"{host}:{port} does not speak the Kafka protocol"
        raise NotKafkaError(message)
    return response[4:]


def _read_exactly(connection: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connection.recv(size - len(received))
        if not chunk:
            message = "the broker closed the connection"
            raise NotKafkaError(message)
        received += chunk
    return bytes(received)
