"""`run`: its options; `serve` does the work."""

import argparse
import os
from typing import Final

from flowmachine.cli.command import EXIT_OK, Command
from flowmachine.cli.log_options import add_log_options
from flowmachine.cli.logs import LOG_FORMATS, LOG_LEVELS, set_up_logging
from flowmachine.cli.source import load_source

HTTP_DEFAULT_HOST: Final = "127.0.0.1"
HTTP_DEFAULT_PORT: Final = 8080
HOST_VARIABLE: Final = "HTTP_HOST"
PORT_VARIABLE: Final = "HTTP_PORT"
LEVEL_VARIABLE: Final = "LOG_LEVEL"
_PORT_MAX: Final = 65535


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `host:port`, `[address]:port` or `:port` (this machine only). Raises ArgumentTypeError."""
    host, colon, port = text.rpartition(":")
    is_port = port.isascii() and port.isdigit() and int(port) <= _PORT_MAX
    is_host = "]" not in host and ":" not in host if not host.startswith("[") else host.endswith("]")
    if not colon or not is_port or not is_host or any(character.isspace() or character == "/" for character in host):
        from_environment = f" (${HOST_VARIABLE} and ${PORT_VARIABLE})" if text == _default_address() else ""
        raise argparse.ArgumentTypeError(f"{text!r}{from_environment} is not an address HOST:PORT")
    return host.removeprefix("[").removesuffix("]") or HTTP_DEFAULT_HOST, int(port)


def parse_level(text: str) -> str:
    """The name of a level. Raises ArgumentTypeError."""
    if text.lower() not in LOG_LEVELS:
        from_environment = f" (${LEVEL_VARIABLE})" if text == os.environ.get(LEVEL_VARIABLE) else ""
        raise argparse.ArgumentTypeError(f"{text!r}{from_environment} is not one of {', '.join(LOG_LEVELS)}")
    return text.lower()


def _default_address() -> str:
    host = os.environ.get(HOST_VARIABLE) or HTTP_DEFAULT_HOST
    port = os.environ.get(PORT_VARIABLE) or HTTP_DEFAULT_PORT
    return f"{host}:{port}"


def _parse_advertised(text: str) -> str:
    host, port = parse_address(text)
    if text.startswith(":") or port == 0:
        raise argparse.ArgumentTypeError(f"{text!r} does not say where others reach this engine: HOST:PORT")
    return f"[{host}]:{port}" if ":" in host else text


def _configure(parser: argparse.ArgumentParser) -> None:
    add_process_options(parser)
    parser.add_argument(
        "--advertise",
        metavar="HOST:PORT",
        type=_parse_advertised,
        help="where the machine's other engines reach this one (the address of --http)",
    )
    parser.add_argument(
        "--no-projector", action="store_true", help="leave the store to `flowmachine project`, if there is one"
    )


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """What `run` and `project` have in common: the machine, its log and secrets, the HTTP server, logging."""
    add_log_options(parser)
    parser.add_argument(
        "--http",
        metavar="HOST:PORT",
        type=parse_address,
        default=_default_address(),  # argparse parses a default that is a text
        help=f"where the HTTP API listens; port 0 is any free one (%(default)s); ${HOST_VARIABLE}, ${PORT_VARIABLE}",
    )
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, default="auto", help="auto: pretty on a terminal, else json"
    )
    parser.add_argument(
        "--log-level",
        metavar="LEVEL",
        type=parse_level,
        default=os.environ.get(LEVEL_VARIABLE) or "info",
        help=f"trace, debug, info, warn, error, fatal or silent (%(default)s); ${LEVEL_VARIABLE}",
    )


def _run(arguments: argparse.Namespace) -> int:
    set_up_logging(log_format=arguments.log_format, level=arguments.log_level)
    resource = load_source(arguments)
    # Only here: what an engine needs takes a second to import, and `check` should not wait for it.
    from flowmachine.cli.serve import serve

    serve(resource, arguments)
    return EXIT_OK


RUN: Final = Command(
    name="run",
    summary="run an engine until SIGTERM",
    configure=_configure,
    run=_run,
    details="Further variables: SAGA_ID_PREFIX. The HTTP API listens on this computer only unless --http\n"
    f"says otherwise, for example --http 0.0.0.0:{HTTP_DEFAULT_PORT}.\n"
    "Exit code 0: it was asked to stop, and has; 1: something must be changed first.",
)
