"""Sagas in a table of PostgreSQL (`docs/stores.md` has the table)."""

from flowmachine.adapters.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
