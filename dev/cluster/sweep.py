"""Removes what pods leave on the machine: processes, mounts, cgroups, links.

Containers outlive kubelet and containerd on purpose, so ending those is not enough. Everything that pods have is in
places of ours, by which it is known: shims name our socket, processes are in our cgroup, mounts are under our folder.
1. shims, 2. processes, 3. mounts (with a network namespace its links go), 4. cgroups, 5. sockets and caches outside of
the folder, 6. the node's link and rules.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from dev.cluster.network import find_owner, remove_network
from dev.cluster.node_files import CGROUP
from dev.cluster.settings import CONTAINERD, Layout

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_CNI_CACHE = Path("/var/lib/cni")
_ROUNDS_MAX = 100  # of 0.05 s: a killed process needs a moment to leave its cgroup
_POLL_SECONDS = 0.05


def sweep_node(layout: Layout) -> None:
    """Leave nothing of the node's pods; does nothing when this machine is not the node of this data folder."""
    if find_owner() != layout.data_dir:
        return
    left = list(_left_outside(layout))
    for pid in _find_shims(layout):
        _kill(pid)
    _kill_pods()
    _unmount_below(layout.data_dir)
    _remove_cgroups()
    for path in left:
        path.unlink(missing_ok=True)
    remove_network()


def _find_shims(layout: Layout) -> Iterator[int]:
    marker = f"{layout.folder_of(CONTAINERD)}/".encode()
    for folder in _PROC.iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                command = (folder / "cmdline").read_bytes()
                if b"containerd-shim" in command.split(b"\0")[0] and marker in command:
                    yield int(folder.name)


def _left_outside(layout: Layout) -> Iterator[Path]:
    for folder in layout.containerd_state.glob("io.containerd.runtime.v2.task/*/*"):
        yield Path(_read(folder / "address").strip().removeprefix("unix://"))  # the shim's socket
        yield from _CNI_CACHE.glob(f"*/*-{folder.name}-*")


def _cgroup_roots() -> list[Path]:
    return [path for path in (_CGROUPS / CGROUP, *_CGROUPS.glob(f"*/{CGROUP}")) if path.is_dir()]


def _kill_pods() -> None:
    for _ in range(_ROUNDS_MAX):
        living = {
            int(pid)
            for root in _cgroup_roots()
            for file in (root / "cgroup.procs", *root.rglob("*/cgroup.procs"))
            for pid in _read(file).split()
        }
        if not living:
            return
        for pid in living:
            _kill(pid)
        time.sleep(_POLL_SECONDS)


def _unmount_below(folder: Path) -> None:
    lines = (_PROC / "self" / "mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    points = [line.split(" ")[1] for line in lines]
    ours = [point for point in points if point.startswith(f"{folder}/")]
    for point in sorted(ours, key=len, reverse=True):  # what is mounted inside another mount goes first
        subprocess.run(["umount", "--lazy", point], capture_output=True, check=False)


def _remove_cgroups() -> None:
    for root in _cgroup_roots():
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
            with contextlib.suppress(OSError):  # a zombie that nobody has reaped yet keeps one; it holds nothing else
                folder.rmdir()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""
