"""One program of the cluster.

Its folder is on its command line and is the marker by which we know it as ours; NAME.log in it holds all it says.
"""

import os
from pathlib import Path

from dev.images.packages import SYSTEM_PATH
from dev.own_process import OwnProcess
from dev.processes import ProcessIdentity


class Component(OwnProcess):
    """One program of a cluster, running or not."""

    causes = (
        ("no space left on device", "The disk that holds {folder} is full."),
        ("address already in use", "Another process took its port meanwhile; try again."),
        ("unknown flag", "It does not know one of the given flags."),
        ("permission denied", "A file of {folder} may not be read or written."),
    )

    def __init__(self, name: str, folder: Path, identity: ProcessIdentity | None) -> None:
        """Describe a program; `identity` is its process from an earlier start, if any."""
        super().__init__(name, marker=marker_of(folder), log=folder / f"{name}.log", identity=identity)

    def spawn(self, program: str, arguments: list[str]) -> None:
        """Start the process."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        environment["PATH"] = f"{environment.get('PATH', '')}:{SYSTEM_PATH}"  # kubelet and containerd call others
        self.run([program, *arguments], environment)


def marker_of(folder: Path) -> str:
    """Return the text on the command line that makes a process the one of this folder."""
    return f"{folder}/"
