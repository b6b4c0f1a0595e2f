"""Real databases for test suites: servers of the session, and a database of its own for each test.

`FLOWMACHINE_TEST_MONGO_URI` (without a database's name) points the tests at a real MongoDB.
"""

import os
import uuid
from collections.abc import Iterator

import psycopg
import pytest

from dev.mongo import MongoServer
from dev.postgres import PostgresServer
from tests.support.tools import skipped_without_tools


def start_postgres() -> PostgresServer:
    """A server that the caller ends; skips the test when there is none to be had."""
    with skipped_without_tools():
        return PostgresServer().__enter__()


def start_mongo() -> MongoServer:
    """As `start_postgres`."""
    with skipped_without_tools():
        return MongoServer().__enter__()


@pytest.fixture(scope="session")
def mongo_uri() -> Iterator[str]:
    """One server for the session; not to be stopped."""
    named = os.environ.get("FLOWMACHINE_TEST_MONGO_URI")
    if named:
        yield named.rstrip("/")
        return
    server = start_mongo()
    yield server.uri
    server.__exit__(None, None, None)


@pytest.fixture
def mongo_database(mongo_uri: str) -> str:
    """The URI of an empty database."""
    return f"{mongo_uri}/d{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the session; not to be killed."""
    server = start_postgres()
    yield server
    server.__exit__(None, None, None)


@pytest.fixture
def postgres_database(postgres_server: PostgresServer) -> str:
    """The URI of an empty database, as its owner."""
    return make_database(postgres_server)


def make_database(server: PostgresServer) -> str:
    """An empty database on a server; the superuser's URI."""
    name = f"d{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.uri, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.uri.rpartition("/")[0] + "/" + name
