"""The log port over one SQLite file: Kafka's guarantees for one engine process, without a network.

    log.py ──► worker.py ──► store.py ──► schema.py
    client.py ──┘  one thread   SQL          tables, opening, errors in sentences
    lock.py  one engine per file             retention.py  what may be deleted

The file is in WAL mode on a local disk (WAL does not work over a network file system). Participants read and write it
through `client.py`, in the engine's process or in another one, while the engine runs.
"""
