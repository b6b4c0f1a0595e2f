"""Options of the commands that work on a machine's log: which machine, and where its log and its secrets are."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Final

from flowmachine.cli.source import add_source_options

if TYPE_CHECKING:
    from flowmachine.app import RunOptions

DATA_DIR_DEFAULT: Final = Path("flowmachine-data")
SECRETS_DIR_DEFAULT: Final = Path("/var/run/secrets/flowmachine")


def add_log_options(parser: argparse.ArgumentParser) -> None:
    """`-f`, `--name`, `--embedded`, `--data-dir` and `--secrets-dir`."""
    add_source_options(parser)
    parser.add_argument(
        "--embedded", action="store_true", help="the log is a file, which one engine uses, and no Kafka is needed"
    )
    parser.add_argument(
        "--data-dir", metavar="DIR", type=Path, default=DATA_DIR_DEFAULT, help="folder of that file (./%(default)s)"
    )
    parser.add_argument(
        "--secrets-dir",
        metavar="DIR",
        type=Path,
        default=SECRETS_DIR_DEFAULT,
        help="folder of the files {name}/{key} that secretKeyRefs name (%(default)s)",
    )


def read_log_options(arguments: argparse.Namespace) -> "RunOptions":
    """What the options say."""
    from flowmachine.app import RunOptions  # only here: what a log needs takes a second to import

    return RunOptions(
        http_host="127.0.0.1",
        http_port=0,
        advertise=None,
        is_embedded=arguments.embedded,
        data_dir=arguments.data_dir,
        secrets_dir=arguments.secrets_dir,
    )
