"""npm packages for tests: a fixture with the folder that holds `node_modules`.

Without Node.js the tests are skipped with a sentence that says what to install; with CI=true they fail instead.
"""

from pathlib import Path

import pytest

from dev.node.provision import find_node, provision
from tests.support.tools import skipped_without_tools


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder that holds `node_modules`."""
    with skipped_without_tools():
        find_node()
        return provision()
