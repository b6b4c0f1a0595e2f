"""`python -m dev.images`: builds the image from the Dockerfile. Exit codes: 0 done, 1 not done, with one sentence."""

import argparse
import sys
from pathlib import Path

from dev.errors import DevError
from dev.images.build import REPOSITORY, build_image, project_version
from dev.images.wheels import make_wheels, this_python


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m dev.images", description="Build the image with buildah.")
    parser.add_argument("--base", metavar="IMAGE", help="default: a Debian of our own making, by debootstrap")
    parser.add_argument(
        "--for-python", default=this_python(), metavar="X.Y", help="the base's Python, default: %(default)s"
    )
    parser.add_argument("--name", default=f"{REPOSITORY}:{project_version()}", help="default: %(default)s")
    parser.add_argument("--only-wheels", action="store_true", help="fill build/wheels, for a build by other tools")
    options = parser.parse_args(arguments)
    try:
        if options.only_wheels:
            sys.stdout.write(f"{make_wheels(options.for_python, _say).relative_to(Path.cwd())}\n")
            return 0
        image = build_image(base=options.base, python=options.for_python, name=options.name, report=_say)
    except DevError as error:
        sys.stderr.write(f"dev.images: {error}\n")
        return 1
    sys.stdout.write(f"{image.name} is in {image.archive}\n")
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
