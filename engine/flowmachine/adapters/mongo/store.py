"""A collection of sagas in Flow Manager's form, written in batches, each document guarded by `seq`.

Two bulk writes, because a guarded upsert is none: where the guard does not hold, an upsert would insert a second
document.
    1. replace the documents that are older
    2. insert those that are not there at all; only if the first did not reach every saga of the batch
"""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pymongo
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, ReplaceOne, UpdateOne, errors
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.uri_parser import parse_uri

from flowmachine.adapters.mongo.documents import decode_found, encode_copy
from flowmachine.core.saga import Saga, history_length
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import Refused, SagaCopy, SagaFilter
from flowmachine.wire.document import OURS

CONNECT_MS: Final = 5_000
CALL_SECONDS: Final = 30.0
"""A server that has not answered by then is away as far as we are concerned."""
INDEX_NAME: Final = "flowmachine_sagaId"

_DUPLICATE_KEY: Final = 11000
_CREDENTIALS: Final = frozenset({18, 8000})
_SRV: Final = "mongodb+srv://"
_PERMISSION: Final = frozenset({13})

_Collection = AsyncCollection[dict[str, Any]]
_Write = ReplaceOne[Any] | UpdateOne


class MongoStore:
    """Fulfils `ports.SagaStore` and `ports.SagaQueries`."""

    full: str = ""

    def __init__(self, uri: str, *, collection: str) -> None:
        """Raises ConfigurationError if the URI is none, or names no database."""
        self._uri = uri
        self._name = collection
        self._database = _check_uri(uri)
        self._client: AsyncMongoClient[dict[str, Any]] | None = None
        self._opening = asyncio.Lock()
        self._prepared: _Collection | None = None

    async def write(self, copies: Sequence[SagaCopy]) -> Sequence[Refused]:
        """As the port says."""
        refused: list[Refused] = []
        encoded: list[tuple[SagaCopy, RawBSONDocument]] = []
        for copy in copies:
            value = encode_copy(copy)
            if isinstance(value, Refused):
                refused.append(value)
            else:
                encoded.append((copy, RawBSONDocument(value)))
        if encoded:
            with _translated("writing to the store"):
                async with asyncio.timeout(CALL_SECONDS):
                    refused += await self._write(await self._collection(), encoded)
        return refused

    async def _write(
        self, collection: _Collection, encoded: Sequence[tuple[SagaCopy, RawBSONDocument]]
    ) -> list[Refused]:
        ids = [copy.saga_id for copy, _ in encoded]
        replaced, refused = await _bulk_write(
            collection, ids, [ReplaceOne(_older_than(copy), document) for copy, document in encoded]
        )
        if replaced == len(encoded):
            return refused
        missing: list[_Write] = [
            UpdateOne({"sagaId": copy.saga_id}, {"$setOnInsert": document}, upsert=True) for copy, document in encoded
        ]
        refused += (await _bulk_write(collection, ids, missing))[1]
        return list({each.saga_id: each for each in refused}.values())

    async def read(self, saga_ids: Sequence[str]) -> Mapping[str, Saga | Refused]:
        """As the port says."""
        with _translated("reading from the store"):
            async with asyncio.timeout(CALL_SECONDS):
                collection = await self._collection()
                found = await collection.find({"sagaId": {"$in": list(saga_ids)}}).to_list()
        return dict(decode_found(document) for document in found)

    async def query(self, wanted: SagaFilter, *, after: str | None, limit: int) -> Sequence[SagaCopy]:
        """As the port says; documents that are no sagas are left out."""
        with _translated("querying the store"):
            async with asyncio.timeout(CALL_SECONDS):
                collection = await self._collection()
                cursor = collection.find(_build_filter(wanted, after)).sort("sagaId", pymongo.ASCENDING).limit(limit)
                found = [decode_found(document) for document in await cursor.to_list()]
        return [SagaCopy(saga_id, saga) for saga_id, saga in found if isinstance(saga, Saga)]

    async def tend(self, now_ms: int) -> None:
        """Removes nothing; shows that the store is there."""
        with _translated("looking after the store"):
            async with asyncio.timeout(CALL_SECONDS):
                await self._collection()

    async def close(self) -> None:
        """As the port says."""
        client, self._client, self._prepared = self._client, None, None
        if client is not None:
            await client.close()

    async def _collection(self) -> _Collection:
        """The collection, with its index: without it two upserts at once could insert a saga twice."""
        async with self._opening:
            if self._prepared is not None:
                return self._prepared
            if self._client is None:
                self._client = AsyncMongoClient(
                    self._uri,
                    appname="flowmachine",
                    connectTimeoutMS=CONNECT_MS,
                    serverSelectionTimeoutMS=CONNECT_MS,
                    socketTimeoutMS=int(CALL_SECONDS * 1000),
                    tz_aware=True,
                )
            collection: _Collection = self._client[self._database][self._name]
            await collection.create_index("sagaId", unique=True, name=INDEX_NAME)
            self._prepared = collection
            return collection


def _check_uri(uri: str) -> str:
    """The database's name."""
    path = "spec.persistence.configurations.connectionUri"
    plain = uri.replace(_SRV, "mongodb://", 1)  # an SRV name is looked up in DNS; only the path matters here
    try:
        database = parse_uri(plain, validate=False)["database"]
    except (errors.PyMongoError, ValueError):
        message = "is not a URI such as mongodb://user:password@host:27017/database"
        raise ConfigurationError.of(path, "store-uri", message) from None
    if not database:
        raise ConfigurationError.of(path, "store-uri", "must name the database: mongodb://host:27017/database")
    return str(database)


def _older_than(copy: SagaCopy) -> dict[str, Any]:
    """The saga's document, if it is older: by our number, or as far as its history tells in one of Flow Manager's."""
    states = history_length(copy.saga.history)
    return {
        "sagaId": copy.saga_id,
        "$or": [
            {f"{OURS}.seq": {"$lt": copy.saga.seq}},
            {f"{OURS}.seq": {"$exists": False}, f"history.states.{states}": {"$exists": False}},
        ],
    }


async def _bulk_write(collection: _Collection, ids: Sequence[str], writes: Sequence[Any]) -> tuple[int, list[Refused]]:
    """How many documents matched, and the sagas that the server does not take."""
    try:
        result = await collection.bulk_write(writes, ordered=False)
    except errors.BulkWriteError as error:
        details: Mapping[str, Any] = error.details
        if details.get("writeConcernErrors"):
            raise
        failed = [each for each in details["writeErrors"] if each["code"] != _DUPLICATE_KEY]
        # A duplicate key: another projector has just inserted the saga. Once more, and the older copy is replaced.
        if len(failed) < len(details["writeErrors"]):
            raise TransientError("another projector writes the same sagas") from error
        return int(details["nMatched"]), [Refused(ids[int(each["index"])], str(each["errmsg"])) for each in failed]
    return int(result.matched_count), []


@contextmanager
def _translated(doing: str) -> Generator[None]:
    """Raise whatever goes wrong inside as one of our exceptions."""
    try:
        yield
    except (errors.PyMongoError, OSError, TimeoutError) as error:
        raise _translate(error, doing) from error


def _translate(error: Exception, doing: str) -> ConfigurationError | TransientError:
    text = " ".join(str(error).split())[:500]
    code = error.code if isinstance(error, errors.OperationFailure) else None
    if code in _CREDENTIALS or "Authentication failed" in text:
        return ConfigurationError.of("persistence", "store-credentials", f"while {doing}: {text}")
    if code in _PERMISSION:
        return ConfigurationError.of("persistence", "store-permission", f"while {doing}: {text}")
    if isinstance(error, errors.DuplicateKeyError):
        message = f"while {doing}: the collection has several documents with one sagaId; remove the older ones ({text})"
        return ConfigurationError.of("persistence", "store-foreign", message)
    if isinstance(error, errors.ConfigurationError):
        return ConfigurationError.of("persistence", "store-uri", f"while {doing}: {text}")
    return TransientError(f"while {doing}: {text or type(error).__name__}")


def _build_filter(wanted: SagaFilter, after: str | None) -> dict[str, Any]:
    conditions: dict[str, Any] = {
        "currentState": wanted.state,
        "associatedEntityId": wanted.entity,
        "isFinal": wanted.is_final,
        "sagaId": None if after is None else {"$gt": after},
        f"{OURS}.updatedAt": None if wanted.updated_before is None else {"$lt": wanted.updated_before},
    }
    text = wanted.business_state
    if text is not None:
        is_number = text.isascii() and text.removeprefix("-").isdecimal()
        conditions["businessStateId"] = {"$in": [text, *([int(text)] if is_number else [])]}
    return {name: value for name, value in conditions.items() if value is not None}
