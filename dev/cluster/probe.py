"""Asks a program of the cluster over HTTPS whether it is ready; its certificate is checked."""

import http.client
import ssl
from dataclasses import dataclass

from dev.kafka.addresses import LOOPBACK

_ANSWER_SECONDS_MAX = 5.0
_OK = 200


@dataclass(frozen=True, slots=True)
class Probe:
    """Where to ask, and as whom."""

    context: ssl.SSLContext
    token: str

    def is_ok(self, port: int, path: str) -> bool:
        """Tell whether the answer is 200; no answer is no."""
        connection = http.client.HTTPSConnection(LOOPBACK, port, timeout=_ANSWER_SECONDS_MAX, context=self.context)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            return connection.getresponse().status == _OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
