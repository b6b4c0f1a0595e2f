"""The smallest service behind `rest` and `crud`: takes every document, keeps it in memory, and gives it back.

A process of its own, `python -m bench.keeper --port=N`, so that it does not share an interpreter with what is measured.
"""

import argparse
from collections.abc import Generator
from contextlib import contextmanager

from aiohttp import web

from bench.processes import open_service
from dev.addresses import LOOPBACK


@contextmanager
def open_keeper() -> Generator[str]:
    """The service, as long as the block lasts; its URL."""
    with open_service("bench.keeper") as port:
        yield f"http://{LOOPBACK}:{port}"


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


def _say_ready(_: str) -> None:
    print("ready", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.keeper")
    parser.add_argument("--port", type=int, required=True)
    port = parser.parse_args().port
    web.run_app(build_application(), host=LOOPBACK, port=port, print=_say_ready, access_log=None)
