"""`python -m flowmachine_operator`, and the entry of the script `flowmachine-operator`."""

import argparse
import os
import sys

from flowmachine.errors import ConfigurationError
from flowmachine_operator.settings import describe_settings, parse_settings


def main() -> int:
    """Run the operator until SIGTERM. Exit code 0: it was asked to stop; 1: somebody must change something."""
    parser = argparse.ArgumentParser(
        prog="flowmachine-operator",
        description="Make running engines of the FlowMachines in a Kubernetes cluster.",
        epilog=f"environment variables:\n{describe_settings()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.parse_args()
    try:
        settings = parse_settings(os.environ)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    # Only here: kopf and the API client take a second to import, and `--help` should not wait for it.
    from flowmachine_operator.handlers.process import run_process

    return run_process(settings)


if __name__ == "__main__":
    sys.exit(main())
