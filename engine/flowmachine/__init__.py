"""FlowMachine's engine: runs sagas as state machines, exactly once, over Kafka or one SQLite file."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("flowmachine-operator")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"
