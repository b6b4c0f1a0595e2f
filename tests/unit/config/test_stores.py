"""What `persistence.configurations` may say, for each kind of store."""

from typing import Any

import pytest

from flowmachine.config.stores import CrudSettings, PostgresSettings, RestSettings, check_store, parse_store
from flowmachine.errors import ConfigurationError

SECRET = {"secretKeyRef": {"name": "literals", "key": "k"}}


def problems(kind: str, configurations: Any, **more: Any) -> list[tuple[str, str]]:
    found = check_store({"type": kind, "configurations": configurations, **more})
    return [(".".join(map(str, fault.path[2:])), fault.message) for fault in found]


def test_defaults_are_flow_manager_s() -> None:
    crud = parse_store("crud", {"collectionName": "sagas"})
    assert isinstance(crud, CrudSettings)
    assert (crud.protocol, crud.host, crud.port) == ("http", "crud-service", 80)
    rest = parse_store("rest", {"endpoint": "keeper", "port": "8080"})
    assert isinstance(rest, RestSettings)
    assert (rest.protocol, rest.port, rest.path, rest.method) == ("http", 8080, "/", "POST")
    postgres = parse_store("postgres", {"connectionUri": "postgresql://h/d"})
    assert isinstance(postgres, PostgresSettings)
    assert (postgres.table, postgres.create_table, postgres.retention) == ("sagas", True, None)


@pytest.mark.parametrize(
    ("kind", "configurations", "path", "message"),
    [
        ("postgres", None, "configurations.connectionUri", "is required"),
        ("postgres", {"connectionUri": "x", "table": "a b"}, "configurations.table", "must be the name of a table"),
        ("postgres", {"connectionUri": "x", "tabel": "t"}, "configurations.tabel", "did you mean 'table'?"),
        ("mongo", {"connectionUri": "x"}, "configurations.collectionName", "is required"),
        ("rest", {"endpoint": "h", "method": "GET"}, "configurations.method", "must be one of"),
        ("rest", {"endpoint": "h", "port": "many"}, "configurations.port", "must be a whole number"),
        ("crud", {"collectionName": "c", "headers": {"A": 5}}, "configurations.headers.A", "must be a text"),
    ],
)
def test_problems_are_named(kind: str, configurations: Any, path: str, message: str) -> None:
    ((found_path, found_message),) = problems(kind, configurations)
    assert found_path == path
    assert message in found_message


def test_every_text_may_be_a_reference() -> None:
    assert problems("postgres", {"connectionUri": SECRET, "table": SECRET}) == []
    assert (
        problems("rest", {"endpoint": SECRET, "method": SECRET, "port": SECRET, "headers": {"A": {"file": "/a"}}}) == []
    )
    assert problems("crud", {"collectionName": SECRET, "protocol": SECRET, "tls": {"ca": SECRET}}) == []


def test_read_through_needs_a_store() -> None:
    assert problems("none", None, readThrough=True)[0][0] == "readThrough"


def test_resolved_value_that_does_not_fit_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_store("postgres", {"connectionUri": "x", "table": "hunter2 and more"})
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(parse_store("postgres", {"connectionUri": "postgresql://u:hunter2@h/d"}))
