"""The HTTP side of an engine under test: endpoints of REST channels, a persistency service, a CRUD service."""

import json
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.support.conformance.cases import COLLECTION, STORE_PATH

_UPSERT, _FIND = f"/{COLLECTION}/upsert-one", f"/{COLLECTION}/"


class Endpoints:
    """Listens from the start until `close`. `documents`: what has been stored, by saga; `calls`: commands, by saga."""

    def __init__(self, host: str, port: int, answers: Mapping[str, Sequence[int]]) -> None:
        self.documents: dict[str, dict[str, Any]] = {}
        self.calls: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._answers = answers
        self._asked: Counter[tuple[str, str]] = Counter()
        endpoints = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = endpoints.answer(self.command, self.path, dict(self.headers), body)
                content = json.dumps(answer).encode()
                self.send_response(status)
                if status // 100 == 3:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Type", "application/json")
                if status != HTTPStatus.NO_CONTENT:
                    self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if status != HTTPStatus.NO_CONTENT:
                    self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = _answer  # noqa: N815 - names of the standard library

            def log_message(self, format: str, *args: object) -> None:
                """Nothing: what comes in is kept."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.host, self.port = host, self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        """Status and body for a request."""
        parts = urlsplit(url)
        if parts.path.startswith(f"{STORE_PATH}/"):
            return self._persist(method, unquote(parts.path.removeprefix(f"{STORE_PATH}/")), body)
        if parts.path in (_UPSERT, _FIND):
            return self._crud(method, parts.path, parse_qs(parts.query).get("sagaId", [""])[0], body)
        return self._take(method, url, headers, body)

    def close(self) -> None:
        """End."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _persist(self, method: str, saga_id: str, body: bytes) -> tuple[int, Any]:
        """As configured: PUT to store, GET to read."""
        if method == "GET":
            found = self.documents.get(saga_id)
            return (HTTPStatus.NOT_FOUND, {}) if found is None else (HTTPStatus.OK, found)
        if method != "PUT":
            return HTTPStatus.METHOD_NOT_ALLOWED, {}
        self.documents[saga_id] = json.loads(body)
        return HTTPStatus.OK, {}

    def _crud(self, method: str, path: str, saga_id: str, body: bytes) -> tuple[int, Any]:
        if (method, path) == ("GET", _FIND):
            return HTTPStatus.OK, [self.documents[saga_id]] if saga_id in self.documents else []
        update = json.loads(body) if body else {}
        if (method, path, list(update)) != ("POST", _UPSERT, ["$set"]):
            return HTTPStatus.METHOD_NOT_ALLOWED, {}
        self.documents[saga_id] = self.documents.get(saga_id, {}) | update["$set"]
        return HTTPStatus.OK, {}

    def _take(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, Any]:
        message = json.loads(body)
        key = message["key"]
        statuses = self._answers.get(url, [HTTPStatus.OK])
        status = statuses[min(self._asked[url, key], len(statuses) - 1)]
        self._asked[url, key] += 1
        lower = {name.lower(): value for name, value in headers.items()}
        self.calls[key].append(
            {"method": method, "path": url, "headers": lower, "body": message, "status": int(status)}
        )
        return status, {"ignored": ["whatever", "this", "is"]}
