"""Commands: `python -m dev.kafka provision | up | status | down`, from the root of the repository.

Exit codes: 0 done (for `status`: all brokers are ready), 1 not done, with one sentence on standard error, 130 Ctrl-C.
"""

import argparse
import sys
import time
from pathlib import Path

from dev.commands import Tool, say
from dev.errors import ClusterStateError, SettingsError
from dev.kafka.cluster import KafkaCluster
from dev.kafka.provision import provision
from dev.kafka.settings import CONTROLLER, DEFAULT_USERS, ClusterSettings

_PORT_BASE = 9092
_TOOL = Tool("kafka")
_TOKEN_SECONDS = 24 * 3600


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = _parse(arguments)
    data_dir: Path = options.data_dir.expanduser().resolve()
    return _TOOL.run(lambda: _run(data_dir, options), data_dir)


def _run(data_dir: Path, options: argparse.Namespace) -> int:
    if options.command == "provision":
        provision(say)
        return 0
    with _TOOL.locked(data_dir):
        if options.command == "up":
            return _up(data_dir, options)
        return _down(data_dir, keeps_data=options.keep) if options.command == "down" else _status(data_dir)


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_TOOL.program, description="Real Kafka brokers on this machine.")
    commands = parser.add_subparsers(dest="command", required=True)
    shared = _TOOL.data_dir_parser()
    up = commands.add_parser("up", parents=[shared], help="start the brokers, or say that they run")
    up.add_argument("--brokers", type=int, choices=(1, 3), default=1)
    up.add_argument("--sasl", action="store_true", help="also SASL_PLAINTEXT: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512")
    up.add_argument(
        "--oauth", action="store_true", help="with --sasl: also OAUTHBEARER, tokens of an issuer of its own"
    )
    up.add_argument("--tls", action="store_true", help="also SSL, and with --sasl SASL_SSL")
    up.add_argument("--authorizer", action="store_true", help="check ACLs; super users: PLAINTEXT clients and admin")
    up.add_argument("--user", action="append", default=[], metavar="NAME:PASSWORD", help="SASL users instead of ours")
    up.add_argument("--port-base", type=int, default=_PORT_BASE, metavar="N", help="first port, default: %(default)s")
    up.add_argument("--extra-host", metavar="ADDRESS", help="listen on this address too (a bridge that pods reach)")
    up.add_argument("--heap-mib", type=int, default=512, metavar="N", help="default: %(default)s")
    up.add_argument("--quick-jvm", action="store_true", help="start quicker, run slower: nothing for benchmarks")
    down = commands.add_parser("down", parents=[shared], help="stop the brokers and remove their data")
    down.add_argument("--keep", action="store_true", help="keep the data")
    commands.add_parser("status", parents=[shared], help="say what runs")
    commands.add_parser("provision", parents=[shared], help="fetch what brokers need, once, into the cache")
    return parser.parse_args(arguments)


def _up(data_dir: Path, options: argparse.Namespace) -> int:
    begin = time.monotonic()
    settings = _build_settings(data_dir, options)
    try:
        cluster = KafkaCluster(settings, survives=True, report=say)
    except ClusterStateError as error:
        down = f"{_TOOL.program} down{_TOOL.data_dir_option(data_dir)}"
        message = f"{error}; `{down}` ends and removes it (--keep: only ends it), --data-dir takes another folder."
        raise ClusterStateError(message) from error
    before = cluster.running()
    if before == cluster.node_ids:
        say("Kafka is already running.")
        cluster.wait_ready()
    else:
        if before:
            say(f"Running: broker {', '.join(map(str, before))}; starting the rest ...")
        else:
            say(f"Starting {settings.brokers} broker(s) in {data_dir} ...")
        cluster.start()
        say(f"Ready after {time.monotonic() - begin:.1f} s.")
    _describe(cluster)
    say(f"Stop with: {_TOOL.program} down{_TOOL.data_dir_option(data_dir)}")
    return 0


def _down(data_dir: Path, *, keeps_data: bool) -> int:
    cluster = KafkaCluster.attach(data_dir, report=say)
    if cluster is None:
        say(f"No Kafka in {data_dir}; nothing to do.")
        return 0
    running = cluster.running()
    cluster.stop()
    say(f"Stopped {len(running)} broker(s)." if running else "No broker was running.")
    if keeps_data:
        say(f"The data stays in {data_dir}.")
    else:
        cluster.remove_data()
        say("Removed the data.")
    return 0


def _status(data_dir: Path) -> int:
    cluster = KafkaCluster.attach(data_dir)
    if cluster is None:
        say(f"No Kafka in {data_dir}.")
        return 1
    running, paused = cluster.running(), cluster.paused()
    for node_id in cluster.node_ids:
        word = "paused" if node_id in paused else "running" if node_id in running else "not running"
        process = f", process {cluster.pid_of(node_id)}" if node_id in running else ""
        say(f"Broker {node_id}: {word}{process}, log {cluster.log_of(node_id)}")
    is_ready = not paused and cluster.is_ready()
    say("All brokers are ready." if is_ready else "Not ready; `python -m dev.kafka up` starts what is missing.")
    _describe(cluster)
    return 0 if is_ready else 1


def _build_settings(data_dir: Path, options: argparse.Namespace) -> ClusterSettings:
    users = dict(DEFAULT_USERS)
    if options.user:
        if not all(":" in user for user in options.user):
            message = "--user takes NAME:PASSWORD."
            raise SettingsError(message)
        users = dict(user.split(":", 1) for user in options.user)
    return ClusterSettings(
        brokers=options.brokers,
        sasl=options.sasl,
        oauth=options.oauth,
        tls=options.tls,
        authorizer=options.authorizer,
        port_base=options.port_base,
        data_dir=data_dir,
        users=users,
        extra_host=options.extra_host,
        heap_mib=options.heap_mib,
        quick_jvm=options.quick_jvm,
    )


def _describe(cluster: KafkaCluster) -> None:
    for listener in cluster.settings.listeners:
        if listener != CONTROLLER:
            say(f"  {listener:<15} {cluster.bootstrap_of(listener)}")
    if cluster.settings.sasl:
        say(f"  users           {', '.join(f'{name}:{word}' for name, word in cluster.settings.users.items())}")
    if cluster.settings.oauth:
        say(f"  token of alice  {cluster.issuer.sign('alice', lifetime_seconds=_TOKEN_SECONDS)}")
    if cluster.settings.needs_certificates:
        tls = cluster.tls
        say(f"  CA              {tls.ca}")
        say(f"  client          {tls.client_certificate} {tls.client_key}")


if __name__ == "__main__":
    sys.exit(main())
