"""A table of sagas: written in batches, one statement each, guarded by `seq`.

The connections are a small pool: the projector needs one, reads and queries share the others.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, LiteralString

import msgspec
import psycopg
from psycopg import AsyncConnection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from flowmachine.adapters.postgres.errors import is_of_a_row, translate
from flowmachine.adapters.postgres.rows import COLUMNS, SELECTED, decode_row, encode_rows
from flowmachine.adapters.postgres.schema import prepare_table, qualified
from flowmachine.core.saga import Saga
from flowmachine.core.timestamps import format_timestamp
from flowmachine.errors import ConfigurationError
from flowmachine.ports import Refused, SagaCopy, SagaFilter

CONNECTIONS_MAX: Final = 4
CONNECT_SECONDS: Final = 10
"""To connect takes three round trips: a server that takes two seconds for each shall be reached all the same."""
CALL_SECONDS: Final = 30.0
"""A server that has not answered by then is away as far as we are concerned."""
DELETED_ROWS_MAX: Final = 5000
"""Finished sagas removed per statement: some tens of milliseconds."""

_Pool = AsyncConnectionPool[AsyncConnection]

# The pool says every attempt to connect; we say an outage once, with the reason.
logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)


class PostgresStore:
    """Fulfils `ports.SagaStore` and `ports.SagaQueries` for one machine; the table may have others' sagas too."""

    full: str = ""

    def __init__(
        self, uri: str, *, table: str, machine: str, create_table: bool = True, retention_finished_ms: int | None = None
    ) -> None:
        """Raises ConfigurationError if the URI is none."""
        self._uri = _checked(uri)
        self._table = table
        self._machine = machine
        self._create_table = create_table
        self._retention_finished_ms = retention_finished_ms
        self._pool: _Pool | None = None
        self._opening = asyncio.Lock()
        self._upsert = _build_upsert(table)

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        """As the port says. Always in the order of ids, so that two writers never wait for each other in a circle."""
        refused: list[Refused] = []
        async with self._connection("writing to the store") as connection:
            await self._write(connection, sorted(copies, key=lambda copy: copy.saga_id), refused)
        return refused

    async def _write(self, connection: AsyncConnection, copies: Sequence[SagaCopy], refused: list[Refused]) -> None:
        """One statement. If the data is at fault, each half by itself, until the saga that does it stands alone."""
        try:
            await connection.execute(self._upsert, {"machine": self._machine, "rows": encode_rows(copies)})
        except psycopg.Error as error:
            if not is_of_a_row(error):
                raise
            if len(copies) == 1:
                refused.append(Refused(copies[0].saga_id, " ".join(str(error).split())))
                return
            middle = len(copies) // 2
            await self._write(connection, copies[:middle], refused)
            await self._write(connection, copies[middle:], refused)

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        """As the port says."""
        statement = sql.SQL("SELECT {} FROM {} WHERE machine = %s AND saga_id = ANY(%s)").format(
            sql.SQL(SELECTED), qualified(self._table)
        )
        known = [saga_id for saga_id in saga_ids if "\x00" not in saga_id]  # no text of PostgreSQL has a NUL
        async with self._connection("reading from the store") as connection:
            cursor = await connection.execute(statement, (self._machine, known))
            return dict([decode_row(row) async for row in cursor])

    async def query(self, wanted: SagaFilter, *, after: str | None, limit: int) -> Sequence[SagaCopy]:
        """As the port says; rows that are no sagas are left out."""
        conditions, values = _build_conditions(wanted, after)
        statement = sql.SQL("SELECT {} FROM {} WHERE {} ORDER BY saga_id LIMIT {}").format(
            sql.SQL(SELECTED), qualified(self._table), sql.SQL(" AND ").join(conditions), sql.Literal(limit)
        )
        async with self._connection("querying the store") as connection:
            cursor = await connection.execute(statement, {"machine": self._machine, **values})
            found = [decode_row(row) async for row in cursor]
        return [SagaCopy(saga_id, saga) for saga_id, saga in found if isinstance(saga, Saga)]

    async def tend(self, now_ms: int) -> None:
        """As the port says. Without a retention it only shows that the store is there."""
        statement = sql.SQL(
            "DELETE FROM {table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} "
            "WHERE machine = %s AND is_final AND updated_at < %s::timestamptz LIMIT {limit}))"
        ).format(table=qualified(self._table), limit=sql.Literal(DELETED_ROWS_MAX))
        async with self._connection("tending the store") as connection:
            if self._retention_finished_ms is None:
                await connection.execute("SELECT 1")
                return
            before = format_timestamp(now_ms - self._retention_finished_ms)
            while (await connection.execute(statement, (self._machine, before))).rowcount == DELETED_ROWS_MAX:
                pass

    async def close(self) -> None:
        """As the port says."""
        pool, self._pool = self._pool, None
        if pool is not None:
            await pool.close(timeout=1.0)

    @asynccontextmanager
    async def _connection(self, doing: str) -> AsyncGenerator[AsyncConnection]:
        """A connection for one call; all that goes wrong inside is one of our exceptions."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                pool = self._pool or await self._open()
                async with pool.connection(timeout=CONNECT_SECONDS) as connection:
                    yield connection
        except (psycopg.Error, OSError, TimeoutError) as error:
            # Start anew: a pool tries again at growing intervals of its own, and a table may have been made meanwhile.
            await self.close()
            raise translate(error, doing) from error

    async def _open(self) -> _Pool:
        """Connect once by ourselves, which tells the reason if that fails; look after the table; then open the pool."""
        async with self._opening:
            if self._pool is not None:
                return self._pool
            arguments: dict[str, Any] = {
                "connect_timeout": CONNECT_SECONDS,
                "autocommit": True,
                "prepare_threshold": None,  # poolers such as PgBouncer hand out another session each time
                "application_name": f"flowmachine {self._machine}",
                "tcp_user_timeout": int(CALL_SECONDS * 1000),
            }
            connection = await AsyncConnection.connect(self._uri, **arguments)
            async with connection:
                await prepare_table(connection, self._table, create=self._create_table)
            pool: _Pool = AsyncConnectionPool(
                self._uri,
                kwargs=arguments,
                min_size=1,
                max_size=CONNECTIONS_MAX,
                open=False,
            )
            await pool.open()
            self._pool = pool
            return pool


def _checked(uri: str) -> str:
    try:
        conninfo_to_dict(uri)
    except psycopg.ProgrammingError:
        message = "is not a URI such as postgresql://user:password@host:5432/database"
        path = "spec.persistence.configurations.connectionUri"
        raise ConfigurationError.of(path, "store-uri", message) from None
    return uri


def _build_upsert(table: str) -> sql.Composed:
    names = [sql.Identifier(name) for name in COLUMNS]
    kept = [name for name in COLUMNS if name != "saga_id"]
    return sql.SQL(
        "INSERT INTO {table} AS kept (machine, {names}) "
        "SELECT %(machine)s, {names} FROM json_to_recordset(%(rows)s::json) AS rows({typed}) "
        "ON CONFLICT (machine, saga_id) DO UPDATE SET {changes} WHERE kept.seq < excluded.seq"
    ).format(
        table=qualified(table),
        names=sql.SQL(", ").join(names),
        typed=sql.SQL(", ").join(
            sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in COLUMNS.items()
        ),
        changes=sql.SQL(", ").join(sql.SQL("{0} = excluded.{0}").format(sql.Identifier(name)) for name in kept),
    )


def _build_conditions(wanted: SagaFilter, after: str | None) -> tuple[list[sql.SQL], dict[str, object]]:
    text = wanted.business_state or ""
    is_number = text.removeprefix("-").isdecimal() and text.isascii()
    business_ids = [msgspec.json.encode(text).decode(), *([str(int(text))] if is_number else [])]
    possible: list[tuple[object, LiteralString, object]] = [
        (after, "saga_id > %(after)s", after),
        (wanted.state, "current_state = %(state)s", wanted.state),
        (wanted.business_state, "business_state_id = ANY(%(business_state)s::jsonb[])", business_ids),
        (wanted.entity, "associated_entity_id = %(entity)s", wanted.entity),
        (wanted.is_final, "is_final = %(is_final)s", wanted.is_final),
        (wanted.updated_before, "updated_at < %(updated_before)s::timestamptz", wanted.updated_before),
    ]
    names = ("after", "state", "business_state", "entity", "is_final", "updated_before")
    used = {name: entry for name, entry in zip(names, possible, strict=True) if entry[0] is not None}
    conditions = [sql.SQL("machine = %(machine)s"), *(sql.SQL(condition) for _, condition, _ in used.values())]
    return conditions, {name: value for name, (_, _, value) in used.items()}
