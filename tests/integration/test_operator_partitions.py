"""Partitions are added while sagas run: real engines, started as the Deployment says, follow, and nothing is lost."""

from pathlib import Path

import pytest
import yaml
from aiokafka.admin import NewPartitions

from tests.support.engines import assert_audit_is_clean, running_partitions
from tests.support.kafka import KafkaBroker, admin_client, read_all
from tests.support.kubelet import running_kubelet
from tests.support.operator import Lab, until
from tests.support.orders import (
    FinalStates,
    assert_exactly_once,
    create_sagas,
    prepare_orders,
    running_participants,
)

pytestmark = [pytest.mark.kubernetes, pytest.mark.kafka, pytest.mark.timeout(600)]

SAGAS = 300
_BEFORE, _AFTER = 2, 4
_WAIT_SECONDS = 180.0
_METADATA_MAX_AGE_MS = 1_000
"""Services notice new partitions when their client asks for them the next time: after minutes, unless told."""


async def test_sagas_go_on_while_partitions_are_added(lab: Lab, kafka_broker: KafkaBroker, tmp_path: Path) -> None:
    await lab.start_operator()
    orders = await prepare_orders(
        kafka_broker.bootstrap,
        tmp_path,
        event_partitions=_BEFORE,
        command_partitions=_BEFORE,
        namespace=lab.namespace,
    )
    await lab.apply(yaml.safe_load(orders.file.read_text("utf-8")))
    finals = FinalStates(orders)
    participants = running_participants(orders, metadata_max_age_ms=_METADATA_MAX_AGE_MS)
    async with running_kubelet(lab, orders.name, tmp_path) as kubelet, participants:
        assert (await lab.until_ready(orders.name))["status"]["replicas"] == _BEFORE
        first = list(kubelet.pods)
        ids = await create_sagas(orders, SAGAS, prefix="before", partitions=_BEFORE)

        async with admin_client(orders.bootstrap) as admin:
            await admin.create_partitions(
                {orders.events: NewPartitions(_AFTER), orders.commands: NewPartitions(_AFTER)}
            )
        ids += await create_sagas(orders, SAGAS, prefix="meanwhile", partitions=_BEFORE)

        async def has_followed() -> bool:
            ready = await lab.condition(orders.name, "Ready")
            return ready["message"] == "4 of 4 engines are ready, 2 of them without a partition"

        await until(has_followed, "the engines follow, and the status says which have nothing to do")
        assert set(first) < set(kubelet.pods), "the engines that were there run on"
        ids += await create_sagas(orders, SAGAS, prefix="after", partitions=_BEFORE)
        await finals.wait_for(ids, timeout_seconds=_WAIT_SECONDS)

        # The sagas keep their two homes; an engine that got none stands by.
        shares = sorted(len(running_partitions(pod.url)) for pod in kubelet.pods.values())
        assert shares == [0] * (_AFTER - _BEFORE) + [1] * _BEFORE
    used = {record.partition for record in await read_all(orders.bootstrap, orders.events)}
    assert used == set(range(_AFTER)), "events were read from the new partitions too"
    await assert_exactly_once(orders, ids, finals)
    await assert_audit_is_clean(orders.file, len(ids))
