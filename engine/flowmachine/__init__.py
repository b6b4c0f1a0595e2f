"""FlowMachine's engine: runs sagas as state machines, exactly once, over Kafka or one SQLite file."""

from typing import TYPE_CHECKING

__version__: str

if not TYPE_CHECKING:  # type checkers would take any name for one of this module

    def __getattr__(name: str) -> str:
        """Look the version up when it is asked for: it takes longer than all else that a start-up needs first."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version("flowmachine-operator")
        except PackageNotFoundError:  # a source tree that was never installed
            return "0+unknown"
