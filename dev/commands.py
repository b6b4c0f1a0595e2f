"""What `python -m dev.kafka` and `python -m dev.cluster` have in common: options, one run at a time, exit codes."""

import argparse
import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dev.cache import cache_root, locked
from dev.errors import DevError

_INTERRUPTED: Final = 130


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool whose servers live in a data folder, by default one in the user's state folder."""

    name: str

    @property
    def program(self) -> str:
        """How a contributor runs it."""
        return f"python -m dev.{self.name}"

    @property
    def default_data_dir(self) -> Path:
        """Where its servers live unless another folder is named."""
        base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        return Path(base) / "flowmachine" / self.name

    def data_dir_parser(self) -> argparse.ArgumentParser:
        """Return the parent of parsers that take `--data-dir`."""
        parser = argparse.ArgumentParser(add_help=False)
        parser.add_argument(
            "--data-dir", type=Path, default=self.default_data_dir, metavar="DIR", help="default: %(default)s"
        )
        return parser

    def data_dir_option(self, data_dir: Path) -> str:
        """Return the option, with a space before it, that leads to a data folder; empty for the default one."""
        return "" if data_dir == self.default_data_dir.resolve() else f" --data-dir {data_dir}"

    def locked(self, data_dir: Path) -> AbstractContextManager[None]:
        """Let one run at a time work on a data folder."""
        # Not inside the folder: `down` removes that, and a lock file that vanishes locks nothing.
        digest = hashlib.sha256(str(data_dir).encode()).hexdigest()[:8]
        return locked(cache_root() / "locks" / f"{self.name}-{digest}.lock")

    def run(self, command: Callable[[], int], data_dir: Path) -> int:
        """Run a command and return its exit code; what it cannot do is one sentence on standard error."""
        try:
            return command()
        except DevError as error:
            self._complain(str(error))
        except OSError as error:  # a full disk, a folder without permission
            self._complain(f"{error.strerror or error}: {error.filename or data_dir}")
        except KeyboardInterrupt:
            self._complain("interrupted; what this start had started was ended.")
            return _INTERRUPTED
        return 1

    def _complain(self, text: str) -> None:
        sys.stderr.write(f"dev.{self.name}: {text}\n")


def say(line: str) -> None:
    """Print a line at once, also into a pipe."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
