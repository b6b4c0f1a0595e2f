"""The smallest service behind `rest` and `crud`: takes every document, keeps it in memory, and gives it back.

A process of its own, `python -m bench.keeper PORT`, so that it does not share an interpreter with what is measured.
"""

import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Self

from aiohttp import web

from bench.errors import RoundFailedError
from bench.processes import child_environment
from dev.kafka.addresses import LOOPBACK, find_free_ports

_START_SECONDS_MAX = 30.0
_POLL_SECONDS = 0.05


class KeeperProcess:
    """The service, as long as the block lasts."""

    def __init__(self) -> None:
        (self._port,) = find_free_ports(1)
        self.url = f"http://{LOOPBACK}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "bench.keeper", str(self._port)]
        self._process = subprocess.Popen(command, env=child_environment(), stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_SECONDS_MAX
        while True:
            try:
                socket.create_connection((LOOPBACK, self._port), timeout=1).close()
            except OSError as error:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.__exit__(None, None, None)
                    raise RoundFailedError("the service for rest and crud did not start") from error
                time.sleep(_POLL_SECONDS)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def build_application() -> web.Application:
    """The service."""
    documents: dict[str, bytes] = {}

    async def put(request: web.Request) -> web.Response:
        documents[request.match_info["id"]] = await request.read()
        return web.Response()

    async def get(request: web.Request) -> web.Response:
        found = documents.get(request.match_info["id"])
        return web.Response(status=404) if found is None else web.Response(body=found)

    async def upsert(request: web.Request) -> web.Response:
        documents[request.query["sagaId"]] = (await request.read())[len('{"$set":') : -1]
        return web.Response(body=b"{}")

    async def find(request: web.Request) -> web.Response:
        found = documents.get(request.query["sagaId"])
        return web.Response(body=b"[]" if found is None else b"[" + found + b"]")

    application = web.Application()
    application.add_routes(
        [
            web.put("/keep/{id}", put),
            web.get("/keep/{id}", get),
            web.post("/sagas/upsert-one", upsert),
            web.get("/sagas/", find),
        ]
    )
    return application


if __name__ == "__main__":
    web.run_app(build_application(), host=LOOPBACK, port=int(sys.argv[1]), print=None, access_log=None)
