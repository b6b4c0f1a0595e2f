"""Sagas in a collection of MongoDB, in Flow Manager's form (`docs/stores.md`)."""

from flowmachine.adapters.mongo.store import MongoStore

__all__ = ["MongoStore"]
