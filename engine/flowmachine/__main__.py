"""`python -m flowmachine`, and the entry of the script `flowmachine`."""

import signal
import sys


def main() -> int:
    """Run the command that the process was started with, and return its exit code."""
    # Modules take a moment to import, and there is nothing to tidy up yet: Ctrl-C then ends the process at once.
    on_interrupt = signal.getsignal(signal.SIGINT)
    if on_interrupt is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from flowmachine.cli.main import main as run_command

    signal.signal(signal.SIGINT, on_interrupt)
    return run_command()


if __name__ == "__main__":
    sys.exit(main())
