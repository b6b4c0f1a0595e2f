"""The table, and how an older one becomes the present one.

A table carries its version in its comment: no second table is needed, and a table of somebody else is told apart.
"""

import re
from typing import Final, LiteralString

from psycopg import AsyncConnection, sql

from flowmachine.errors import ConfigurationError

_COMMENT: Final = "FlowMachine sagas, version {}"
_COMMENT_FORM: Final = re.compile(r"FlowMachine sagas, version (\d+)")
_LOCK: Final = 7_069_108_206
"""Key of the advisory lock under which tables are changed: several engines start at once."""

MIGRATIONS: Final[tuple[tuple[LiteralString, ...], ...]] = (
    (
        """
CREATE TABLE {table} (
    machine text COLLATE "C" NOT NULL,
    saga_id text COLLATE "C" NOT NULL,
    seq bigint NOT NULL,
    revision text NOT NULL,
    current_state text NOT NULL,
    latest_event text NOT NULL,
    is_final boolean NOT NULL,
    business_state_id jsonb NOT NULL,
    business_state_description text NOT NULL,
    associated_entity_id text NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    metadata jsonb NOT NULL,
    history jsonb NOT NULL,
    pending jsonb,
    PRIMARY KEY (machine, saga_id)
)""",
        "CREATE INDEX ON {table} (machine, current_state, saga_id)",
        "CREATE INDEX ON {table} (machine, business_state_id, saga_id)",
        "CREATE INDEX ON {table} USING hash (associated_entity_id)",
        "CREATE INDEX ON {table} (machine, updated_at)",
    ),
)
"""What makes a table of version n out of one of version n - 1, for n = 1, 2, ..."""


def qualified(table: str) -> sql.Identifier:
    """The name of a table for statements."""
    return sql.Identifier(*table.split("."))


async def prepare_table(connection: AsyncConnection, table: str, *, create: bool) -> None:
    """Make the table, or bring it up to date, or only look at it. Raises ConfigurationError, psycopg's errors."""
    version = await _find_version(connection, table)
    if version == len(MIGRATIONS):
        return
    if not create:
        raise _wrong_version(table, version)
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        version = await _find_version(connection, table)  # another engine may have been faster
        for migration in MIGRATIONS[version:]:
            for statement in migration:
                await connection.execute(sql.SQL(statement).format(table=qualified(table)))
        comment = sql.Literal(_COMMENT.format(len(MIGRATIONS)))
        await connection.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(qualified(table), comment))


async def _find_version(connection: AsyncConnection, table: str) -> int:
    """0: there is no such table.

    Read from pg_class, so that a table made a moment ago is seen: to_regclass alone may answer from a stale cache.
    """
    cursor = await connection.execute(
        "SELECT obj_description(oid, 'pg_class') FROM pg_catalog.pg_class WHERE oid = to_regclass(%s)",
        (table,),
    )
    row = await cursor.fetchone()
    if row is None:
        return 0
    found = _COMMENT_FORM.fullmatch(row[0] or "")
    if found is None:
        message = f"the table {table!r} is not FlowMachine's (its comment does not say so); give `table` another name"
        raise ConfigurationError.of("persistence", "store-foreign", message)
    version = int(found.group(1))
    if version > len(MIGRATIONS):
        message = f"the table {table!r} has version {version}, made by a newer FlowMachine; run that one"
        raise ConfigurationError.of("persistence", "store-foreign", message)
    return version


def _wrong_version(table: str, version: int) -> ConfigurationError:
    what = "does not exist" if version == 0 else f"has version {version}, and version {len(MIGRATIONS)} is needed"
    message = f"the table {table!r} {what}; create it as docs/stores.md says, or set `createTable: true`"
    return ConfigurationError.of("persistence", "store-missing", message)
