"""Commands: `python -m dev.cluster up | down | status | kubeconfig`, from the root of the repository.

Exit codes: 0 done (for `status`: all programs are ready), 1 not done, with one sentence on standard error, 130 Ctrl-C.
"""

import argparse
import sys
import time
from pathlib import Path

from dev.cluster.cluster import Cluster
from dev.cluster.settings import ClusterSettings
from dev.commands import Tool, say
from dev.errors import ClusterStateError

_TOOL = Tool("cluster")


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parse(arguments)
    data_dir: Path = options.data_dir.expanduser().resolve()
    return _TOOL.run(lambda: _run(data_dir, options), data_dir)


def _run(data_dir: Path, options: argparse.Namespace) -> int:
    if options.command == "kubeconfig":
        return _print_kubeconfig(data_dir)
    with _TOOL.locked(data_dir):
        if options.command == "up":
            return _up(ClusterSettings(scheduler=options.scheduler, node=options.node, data_dir=data_dir), data_dir)
        return _down(data_dir, keeps_data=options.keep) if options.command == "down" else _status(data_dir)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_TOOL.program, description="A real Kubernetes control plane on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = _TOOL.data_dir_parser()
    up = commands.add_parser("up", parents=[shared], help="start the control plane, or say that it runs")
    up.add_argument("--scheduler", action="store_true", help="also a scheduler, for nodes that you bring yourself")
    up.add_argument("--node", action="store_true", help="also a node, which is this machine (needs root)")
    down = commands.add_parser("down", parents=[shared], help="stop the control plane and remove its data")
    down.add_argument("--keep", action="store_true", help="keep the data")
    commands.add_parser("status", parents=[shared], help="say what runs")
    commands.add_parser("kubeconfig", parents=[shared], help="print the path of the kubeconfig file")
    return parser.parse_args(arguments)


def _up(settings: ClusterSettings, data_dir: Path) -> int:
    begin = time.monotonic()
    try:
        cluster = Cluster(settings, survives=True, report=say)
    except ClusterStateError as error:
        down = f"{_TOOL.program} down{_TOOL.data_dir_option(data_dir)}"
        message = f"{error}; `{down}` ends and removes it (--keep: only ends it), --data-dir takes another folder."
        raise ClusterStateError(message) from error
    before = cluster.running()
    if before == cluster.components:
        say("Kubernetes is already running.")
        cluster.wait_ready()
    else:
        if before:
            say(f"Running: {', '.join(before)}; starting the rest ...")
        else:
            say(f"Starting a control plane{' and a node' if settings.node else ''} in {data_dir} ...")
        cluster.start()
        say(f"Ready after {time.monotonic() - begin:.1f} s.")
    _describe(cluster)
    say(f"Stop with: {_TOOL.program} down{_TOOL.data_dir_option(data_dir)}")
    return 0


def _down(data_dir: Path, *, keeps_data: bool) -> int:
    cluster = Cluster.attach(data_dir, report=say)
    if cluster is None:
        say(f"No cluster in {data_dir}; nothing to do.")
        return 0
    running = cluster.running()
    cluster.stop()
    say(f"Stopped {', '.join(running)}." if running else "Nothing was running.")
    if keeps_data:
        say(f"The data stays in {data_dir}.")
    else:
        cluster.remove_data()
        say("Removed the data.")
    return 0


def _status(data_dir: Path) -> int:
    cluster = Cluster.attach(data_dir)
    if cluster is None:
        say(f"No cluster in {data_dir}.")
        return 1
    running = cluster.running()
    for name in cluster.components:
        word = f"running, process {cluster.pid_of(name)}" if name in running else "not running"
        say(f"{name}: {word}, log {cluster.log_of(name)}")
    is_ready = cluster.is_ready()
    say("The control plane is ready." if is_ready else "Not ready; `python -m dev.cluster up` starts what is missing.")
    if is_ready:
        _describe(cluster)
    return 0 if is_ready else 1


def _print_kubeconfig(data_dir: Path) -> int:
    cluster = Cluster.attach(data_dir)
    if cluster is None or not cluster.kubeconfig.exists():
        message = f"No cluster in {data_dir}; start it: {_TOOL.program} up{_TOOL.data_dir_option(data_dir)}"
        raise ClusterStateError(message)
    say(str(cluster.kubeconfig))
    return 0


def _describe(cluster: Cluster) -> None:
    say(f"  API server   {cluster.server}")
    say(f"  kubectl      {cluster.kubectl_program}")
    say(f"  export KUBECONFIG={cluster.kubeconfig}")


if __name__ == "__main__":
    sys.exit(main())
