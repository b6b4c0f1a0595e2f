"""The engine that the environment names, in place of ours.

FLOWMACHINE_CONFORMANCE_URL        HTTP address of an engine that runs already
FLOWMACHINE_CONFORMANCE_BROKERS    its Kafka; the topics' names begin with `conformance-CASES`
FLOWMACHINE_CONFORMANCE_ENDPOINTS  HOST:PORT, where it reaches this machine: the suite listens there. 127.0.0.1:18099
FLOWMACHINE_CONFORMANCE_CASES      which file of cases it is configured for (order)
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.conformance.cases import Place

URL, BROKERS = "FLOWMACHINE_CONFORMANCE_URL", "FLOWMACHINE_CONFORMANCE_BROKERS"
ENDPOINTS, CASES = "FLOWMACHINE_CONFORMANCE_ENDPOINTS", "FLOWMACHINE_CONFORMANCE_CASES"
ENDPOINTS_DEFAULT: Final = "127.0.0.1:18099"


@dataclass(frozen=True, slots=True)
class Named:
    """An engine that runs already."""

    url: str
    cases: str
    place: Place


def find_named(environment: Mapping[str, str] = os.environ) -> Named | None:
    """What the environment says; None: the suite starts engines of ours."""
    url = environment.get(URL)
    if not url:
        return None
    cases = environment.get(CASES, "order")
    return Named(url.rstrip("/"), cases, build_place(cases, environment[BROKERS], environment.get(ENDPOINTS), Path()))


def build_place(cases: str, brokers: str, endpoints: str | None, folder: Path) -> Place:
    """Where an engine for a file of cases finds what it needs."""
    host, _, port = (endpoints or ENDPOINTS_DEFAULT).rpartition(":")
    return Place(f"conformance-{cases}", brokers, host, int(port), folder)
