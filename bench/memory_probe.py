"""Restores sagas into partitions and prints what that did to this process's memory, as one line of JSON.

A fresh process: nothing that was freed before can be used again, so what resident memory grows by is what sagas cost.
"""

import argparse
import gc
import json
import os

from bench.processes import resident_bytes
from bench.workload import PARTITIONS, build_partition, idle_sagas, lanes

_WARM_SAGAS = 400


def probe(count: int, step: int) -> dict[str, float]:
    """Sizes in bytes for `count` sagas."""
    keys = lanes(count)
    partitions = [build_partition(number) for number in range(PARTITIONS)]
    warm = build_partition()
    for key, value in idle_sagas(keys[0][:_WARM_SAGAS], step):
        warm.sagas.restore(key, value)
    record_bytes = sum(len(key) + len(value) for key, value in idle_sagas(keys[0][:1], step))
    gc.collect()
    before = resident_bytes(os.getpid())
    for partition, lane in zip(partitions, keys, strict=True):
        for key, value in idle_sagas(lane, step):
            # A key of its own, as one that comes out of a Kafka record: `keys` is counted in `before`.
            partition.sagas.restore(bytes(bytearray(key)), value)
    gc.collect()
    after = resident_bytes(os.getpid())
    restored = sum(len(partition.sagas) for partition in partitions)
    return {"sagas": restored, "bytes_per_saga": (after - before) / restored, "record_bytes": record_bytes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.memory_probe")
    parser.add_argument("--sagas", type=int, required=True)
    parser.add_argument("--step", type=int, required=True)
    options = parser.parse_args()
    print(json.dumps(probe(options.sagas, options.step)))
