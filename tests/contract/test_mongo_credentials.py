"""The store on a MongoDB-compatible server with users: what those are told whom it does not let in."""

from collections.abc import Iterator

import pytest
from pymongo import MongoClient

from dev.ferretdb import DATABASE, PASSWORD, USER, FerretDbServer
from flowmachine.adapters.mongo import MongoStore
from flowmachine.errors import ConfigurationError
from tests.contract.store_contract import one, order_after, read_one
from tests.support.tools import skipped_without_tools

pytestmark = pytest.mark.timeout(900)  # of which the first use takes some minutes, to build the server


@pytest.fixture(scope="module")
def server() -> Iterator[FerretDbServer]:
    with skipped_without_tools():
        made = FerretDbServer()
    with made:
        yield made


async def fault_of(uri: str) -> tuple[str, str]:
    store = MongoStore(uri, collection="sagas")
    try:
        with pytest.raises(ConfigurationError) as caught:
            await one(store, "order-1", order_after(0))
    finally:
        await store.close()
    return caught.value.problems[0].code, str(caught.value)


@pytest.mark.parametrize(("user", "password"), [(USER, "hunter2"), ("nobody", PASSWORD)])
async def test_wrong_credentials_are_named_and_not_shown(server: FerretDbServer, user: str, password: str) -> None:
    code, text = await fault_of(server.uri_of(user, password))
    assert code == "store-credentials"
    assert password not in text


async def test_missing_credentials_are_a_missing_right(server: FerretDbServer) -> None:
    """MongoDB's own words: a command `requires authentication`, with the code of a right that is missing."""
    code, text = await fault_of(server.anonymous_uri)
    assert (code, "requires authentication" in text) == ("store-permission", True)


async def test_credentials_that_become_right_need_no_restart(server: FerretDbServer) -> None:
    store = MongoStore(server.uri_of("late", "hunter2"), collection="sagas")
    try:
        with pytest.raises(ConfigurationError):
            await one(store, "order-9", order_after(0))
        with MongoClient[dict[str, object]](server.uri_of(USER, PASSWORD)) as client:
            client[DATABASE].command("createUser", "late", pwd="hunter2", roles=[])
        assert await one(store, "order-9", order_after(0)) == []
        assert await read_one(store, "order-9") is not None
    finally:
        await store.close()
