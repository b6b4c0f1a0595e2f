"""What an engine in a process of its own says about itself."""

import json
import urllib.error
import urllib.request

from dev.engine_process import EngineProcess


def problems(engine: EngineProcess) -> str:
    """What `/-/ready` says is wrong; empty when it is ready."""
    try:
        with urllib.request.urlopen(f"{engine.url}/-/ready", timeout=5):  # noqa: S310 - our own child
            return ""
    except urllib.error.HTTPError as error:
        return " ".join(json.loads(error.read())["problems"])
