"""The folder in which a cluster lives: named, and kept; or temporary, and gone with this process however it ends."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from dev.state_file import state_path
from dev.watchdog import start_watchdog


class DataFolder:
    """Where the programs of the tool `dev.{tool}` keep what they write. They may survive this process."""

    def __init__(self, named: Path | None, *, tool: str, survives: bool) -> None:
        self.is_temporary = named is None
        folder = named or Path(tempfile.mkdtemp(prefix=f"flowmachine-{tool}-"))
        self.path = folder.expanduser().resolve()
        self._tool = tool
        self._survives = survives
        self._watchdog: subprocess.Popen[bytes] | None = None

    def guard(self) -> None:
        """From now on, what runs here is ended when this process is gone, unless it may survive it."""
        if not self._survives and self._watchdog is None:
            self._watchdog = start_watchdog(f"dev.{self._tool}.watchdog", self.path, removes_data=self.is_temporary)

    def release(self) -> None:
        """Nothing runs here any more."""
        if self._watchdog is not None:
            self._watchdog.communicate()
            self._watchdog = None

    def remove(self, *written: Path) -> None:
        """Remove files and folders that a cluster wrote, its state, and the folder itself if nothing else is in it."""
        for path in (*written, state_path(self.path)):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()
