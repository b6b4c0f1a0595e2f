"""Asks a program of the cluster whether it is ready, over HTTPS with its certificate checked, or over plain HTTP."""

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any

_ANSWER_SECONDS_MAX = 5.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """How to ask, and as whom."""

    context: ssl.SSLContext
    token: str

    def is_ok(self, host: str, port: int, path: str, *, is_plain: bool = False) -> bool:
        """Tell whether the answer is 200; no answer is no."""
        return self._get(host, port, path, is_plain=is_plain) is not None

    def read(self, host: str, port: int, path: str) -> dict[str, Any] | None:
        """Return the JSON object of an answer 200; None for any other, and for none."""
        body = self._get(host, port, path, is_plain=False)
        found: dict[str, Any] | None = None if body is None else json.loads(body)
        return found

    def _get(self, host: str, port: int, path: str, *, is_plain: bool) -> bytes | None:
        if is_plain:
            connection = http.client.HTTPConnection(host, port, timeout=_ANSWER_SECONDS_MAX)
        else:
            connection = http.client.HTTPSConnection(host, port, timeout=_ANSWER_SECONDS_MAX, context=self.context)
        try:
            connection.request("GET", path, headers={} if is_plain else {"Authorization": f"Bearer {self.token}"})
            answer = connection.getresponse()
            return answer.read() if answer.status == _OK else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()
