"""multicall/ -> etcd, the Kubernetes programs and kubectl in the user's cache folder.

One binary holds all of them and looks at the name it is started by; beside it lie links with these names. The folder's
name carries the Kubernetes version and a digest of our sources.

A first build: 1. go fetches the modules and lists the packages, 2. compiles them, 3. links. Go keeps what it compiled
in its own cache, so a build that was interrupted goes on where it was.
"""

import hashlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dev.cache import Report, cache_root, make_once, report_nothing
from dev.errors import ProvisionError, ToolMissingError

PROGRAMS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
)

_SOURCES = Path(__file__).with_name("multicall")
_SOURCE_FILES = ("go.mod", "go.sum", "main.go")
_BINARY = "multicall"
_BUILD_SECONDS_MAX = 3600  # 8 minutes on two idle cores; beyond an hour something hangs
_PROGRESS_SECONDS = 20.0
_ERROR_LINES_MAX = 6
_NICENESS = "10"  # the contributor goes on working meanwhile
_TOO_OLD = ("requires go >=", "invalid go version")


@dataclass(frozen=True, slots=True)
class Programs:
    """The built programs."""

    folder: Path
    version: str

    def path(self, name: str) -> str:
        """Return the path of one of `PROGRAMS`."""
        return str(self.folder / name)


def find_programs() -> Programs:
    """Return where the programs are, or would be once they are built."""
    contents = [(_SOURCES / name).read_bytes() for name in _SOURCE_FILES]
    version = _read_version(contents[0].decode())
    digest = hashlib.sha256(b"".join(contents)).hexdigest()[:8]
    return Programs(folder=cache_root() / f"kubernetes-{version}-{digest}", version=version)


def provision(report: Report = report_nothing) -> Programs:
    """Return the programs, building them when the cache does not hold them."""
    programs = find_programs()
    make_once(programs.folder, lambda target: _build(target, programs, report))
    return programs


def _read_version(go_mod: str) -> str:
    found = re.search(r"^\s*k8s\.io/kubernetes (v[\d.]+)$", go_mod, re.MULTILINE)
    if found is None:
        message = f"{_SOURCES}/go.mod does not require k8s.io/kubernetes."
        raise ProvisionError(message)
    return found.group(1)


def _find_go(version: str) -> str:
    go = shutil.which("go")
    if go is None:
        message = f"No `go` on PATH, and Kubernetes {version} is not built yet: install Go 1.26 or newer."
        raise ToolMissingError(message)
    return go


def _build(target: Path, programs: Programs, report: Report) -> None:
    go = _find_go(programs.version)
    log = programs.folder.with_name(f"{programs.folder.name}.build.log")
    log.unlink(missing_ok=True)
    target.mkdir()
    begin = time.monotonic()
    report(f"Building Kubernetes {programs.version}, only this time: 8 minutes on two cores. Log: {log}")
    _compile(_Go(go, log, begin + _BUILD_SECONDS_MAX), target / _BINARY, programs.version, report)
    for name in PROGRAMS:
        (target / name).symlink_to(_BINARY)
    report(f"Kubernetes {programs.version} is in {programs.folder} ({time.monotonic() - begin:.0f} s).")


def _compile(go: "_Go", target: Path, version: str, report: Report) -> None:
    report("  fetching the sources ...")
    go.run("list", "-mod=readonly", "-deps", ".", on_wait=lambda _seconds: None)
    packages = len(go.read_packages())
    begin = time.monotonic()

    def tell_progress(seconds: float) -> None:
        compiled = max(len(go.read_packages()) - packages, 0)
        report(f"  {seconds:.0f} s: {compiled} packages compiled, of at most {packages}")

    major, minor, _ = version.removeprefix("v").split(".")
    variable = "k8s.io/component-base/version.git"
    stamps = f"-X {variable}Version={version} -X {variable}Major={major} -X {variable}Minor={minor}"
    options = ("-mod=readonly", "-buildvcs=false", "-trimpath", "-v", "-ldflags", f"-s -w {stamps}")
    go.run("build", *options, "-o", str(target), ".", on_wait=lambda now: tell_progress(now - begin))


class _Go:
    """Runs go commands in our module; all they write is appended to one log."""

    def __init__(self, program: str, log: Path, deadline: float) -> None:
        self._command = ["nice", "-n", _NICENESS, program] if shutil.which("nice") else [program]
        self._log = log
        self._deadline = deadline

    def run(self, *arguments: str, on_wait: Callable[[float], None]) -> None:
        """Run one command to its end; `on_wait` is called with the clock now and then."""
        environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
        with self._log.open("ab") as stream:
            process = subprocess.Popen(
                [*self._command, *arguments],
                cwd=_SOURCES,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait(process, on_wait)
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            raise self._explain(arguments[0])

    def read_packages(self) -> list[str]:
        """Return the lines of the log that are import paths; go's own lines hold a space."""
        return [line for line in self._read_lines() if line and " " not in line]

    def _wait(self, process: subprocess.Popen[bytes], on_wait: Callable[[float], None]) -> None:
        while True:
            try:
                process.wait(timeout=_PROGRESS_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() > self._deadline:
                    message = f"Go did not finish within {_BUILD_SECONDS_MAX} s; see {self._log}."
                    raise ProvisionError(message) from None
                on_wait(time.monotonic())
            else:
                return

    def _read_lines(self) -> list[str]:
        return self._log.read_text(errors="replace").splitlines()

    def _explain(self, command: str) -> ProvisionError | ToolMissingError:
        lines = self._read_lines()
        for line in lines:
            if any(sign in line for sign in _TOO_OLD):
                return ToolMissingError(f"This Go is too old to build Kubernetes: install Go 1.26 or newer ({line}).")
        end = "\n  ".join([line for line in lines if " " in line][-_ERROR_LINES_MAX:])
        return ProvisionError(f"`go {command}` failed; see {self._log}:\n  {end}")
