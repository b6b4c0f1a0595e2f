"""`python -m flowmachine`, and the entry of the script `flowmachine`."""

import sys

from flowmachine.cli.main import main as run_command


def main() -> int:
    """Run the command that the process was started with, and return its exit code."""
    return run_command()


if __name__ == "__main__":
    sys.exit(main())
