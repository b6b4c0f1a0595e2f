"""npm packages for tests: a fixture with the folder that holds `node_modules`.

Without Node.js the tests are skipped with a sentence that says what to install; with CI=true they fail instead.
"""

from pathlib import Path

import pytest

from dev.node.provision import NodeMissingError, find_node, provision


@pytest.fixture(scope="session")
def node_packages() -> Path:
    """The folder that holds `node_modules`."""
    try:
        find_node()
        return provision()
    except NodeMissingError as error:
        pytest.skip(str(error))
