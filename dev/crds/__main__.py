"""`python -m dev.crds`: writes the generated files; with `--check` the exit code says whether they are current."""

import sys

from dev.crds.generate import main

if __name__ == "__main__":
    sys.exit(main())
