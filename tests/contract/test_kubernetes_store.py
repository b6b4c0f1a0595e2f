"""The store of Saga resources keeps the contract on a real API server, and is gentle to it."""

import asyncio
import json
import uuid
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dev.certificates import TlsFiles
from dev.errors import KubectlError
from flowmachine.adapters.kubernetes import KubeApi, KubeConnection, KubernetesStore
from flowmachine.adapters.kubernetes.manifest import object_name
from flowmachine.core.saga import Saga
from flowmachine.errors import ConfigurationError, TransientError
from flowmachine.ports import SagaCopy
from flowmachine.wire.document import decode_document
from tests.contract.store_contract import StoreContract, one, order_after, read_one
from tests.support.builders import NOW_MS
from tests.support.kubernetes import KubernetesCluster, install_crds

pytestmark = [pytest.mark.kubernetes]

MACHINE = "shop"


class KubernetesHarness:
    is_whole = True
    retention_finished_ms = 60_000

    def __init__(self, cluster: KubernetesCluster, namespace: str, connection: KubeConnection) -> None:
        self.cluster = cluster
        self.namespace = namespace
        self.connection = connection
        self.stores: list[KubernetesStore] = []

    def make_store(self, *, connection: KubeConnection | None = None, **arguments: Any) -> KubernetesStore:
        defaults: dict[str, Any] = {
            "namespace": self.namespace,
            "machine": MACHINE,
            "objects_max": 1000,
            "retention_finished_ms": self.retention_finished_ms,
            "clock": lambda: NOW_MS,
        }
        store = KubernetesStore(KubeApi(connection or self.connection), **(defaults | arguments))
        self.stores.append(store)
        return store

    async def put(self, saga_id: str, document: dict[str, Any]) -> None:
        saga = msgspec.structs.replace(
            decode_document(msgspec.json.encode(document)),
            created_at="2025-01-01T00:00:00.000Z",
            updated_at="2025-01-01T00:00:00.000Z",
            seq=document["seq"],
        )
        # Another time in this store's eyes, or it would not bring back what finished long ago.
        await self.make_store(clock=lambda: 0).write([SagaCopy(saga_id, saga)])

    def objects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.cluster.get("sagas", "-n", self.namespace)["items"]
        return found

    def object_of(self, saga_id: str) -> dict[str, Any]:
        return self.cluster.get("saga", object_name(MACHINE, saga_id), "-n", self.namespace)


def machine_manifest(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": "flowmachine.io/v1alpha1",
        "kind": "FlowMachine",
        "metadata": {"name": MACHINE, "namespace": namespace},
        "spec": {
            "machine": {
                "initialState": "a",
                "states": [{"id": "a", "isFinal": True, "businessStateId": 1}],
                "businessStates": [{"id": 1, "description": "done"}],
            },
            "channels": [{"id": "c", "rest": {"host": "localhost"}}],
        },
    }


@pytest.fixture(scope="session")
def saga_crds(kubernetes_cluster: KubernetesCluster) -> None:
    install_crds(kubernetes_cluster.kubectl)


@pytest.fixture
async def harness(
    kubernetes_cluster: KubernetesCluster, saga_crds: None, namespace: str, tmp_path: Path
) -> AsyncGenerator[KubernetesHarness]:
    kubernetes_cluster.apply(machine_manifest(namespace))
    made = KubernetesHarness(kubernetes_cluster, namespace, admin_connection(kubernetes_cluster, tmp_path))
    yield made
    for store in made.stores:
        await store.close()


def admin_connection(cluster: KubernetesCluster, folder: Path) -> KubeConnection:
    layout = cluster.own_cluster().layout
    token = folder / "admin-token"
    config = json.loads(cluster.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
    token.write_text(config["users"][0]["user"]["token"])
    return KubeConnection(layout.server, token, TlsFiles.inside(layout.tls).ca)


class TestKubernetesStore(StoreContract):
    """The suite on Saga resources."""


# --- what people see --------------------------------------------------------------------------------------------------


async def test_kubectl_shows_the_sagas_and_their_owner(harness: KubernetesHarness) -> None:
    await one(harness.make_store(), "order-1", order_after(2))
    kubectl, namespace = harness.cluster.kubectl, harness.namespace
    heading, row = kubectl("get", "sg", "-n", namespace).splitlines()
    assert heading.split() == ["NAME", "MACHINE", "STATE", "BUSINESS", "STATE", "AGE"]
    assert row.split()[:4] == ["shop.order-1", "shop", "delivering", "In"]
    found = harness.object_of("order-1")
    machine = harness.cluster.get("fm", MACHINE, "-n", namespace)
    (owner,) = found["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"]) == ("FlowMachine", MACHINE, machine["metadata"]["uid"])
    assert found["spec"] == {"machine": MACHINE, "sagaId": "order-1", "associatedEntityId": "entity-1"}
    assert [step["state"] for step in found["status"]["history"]["states"]] == ["paying", "preparing", "delivering"]
    assert found["status"]["historyCut"] == 0
    assert len(json.dumps(found["metadata"].get("managedFields", []))) < 4000


async def test_object_belongs_to_one_saga_for_good(harness: KubernetesHarness) -> None:
    await one(harness.make_store(), "order-1", order_after(0))
    patch = ("--type=merge", "-p", '{"spec":{"sagaId":"order-2"}}')
    with pytest.raises(KubectlError, match="one saga for good"):
        harness.cluster.kubectl("patch", "saga", "shop.order-1", "-n", harness.namespace, *patch)


@pytest.mark.parametrize("saga_id", ["Order_1", "x" * 300, "a..b", "a.-b", "-", "ü", "order-1\n"])
async def test_ids_that_are_no_names_have_an_object_all_the_same(harness: KubernetesHarness, saga_id: str) -> None:
    store = harness.make_store()
    assert await one(store, saga_id, order_after(1)) == []
    assert await read_one(store, saga_id) is not None
    assert [found["spec"]["sagaId"] for found in harness.objects()] == [saga_id]


# --- gentle to the API server -----------------------------------------------------------------------------------------


async def test_saga_is_written_at_most_once_per_second(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    loop = asyncio.get_running_loop()
    await one(store, "order-1", order_after(0))
    generations, began = [harness.object_of("order-1")["metadata"]["resourceVersion"]], loop.time()
    for count in (1, 2, 3):
        await one(store, "order-1", order_after(count))
        generations.append(harness.object_of("order-1")["metadata"]["resourceVersion"])
    assert len(set(generations)) == 4
    assert loop.time() - began > 2.0, "four writes are three seconds apart; the first of them may have begun before"


async def test_repeated_copies_write_nothing(harness: KubernetesHarness) -> None:
    copies = [SagaCopy(f"order-{number}", order_after(number % 4)) for number in range(20)]
    await harness.make_store().write(copies)
    before = {found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in harness.objects()}
    store = harness.make_store()
    for _ in range(2):
        await store.write(copies)
    assert {found["metadata"]["name"]: found["metadata"]["resourceVersion"] for found in harness.objects()} == before


async def test_no_more_objects_than_the_bound_and_again_when_there_is_room(
    harness: KubernetesHarness, caplog: pytest.LogCaptureFixture
) -> None:
    store = harness.make_store(objects_max=3)
    finished = [SagaCopy(f"done-{number}", order_after(3)) for number in range(3)]
    assert await store.write(finished) == []
    more = [SagaCopy(f"order-{number}", order_after(1)) for number in range(4)]
    refused = await store.write(more)
    assert [each.saga_id for each in refused] == [copy.saga_id for copy in more]
    assert {each.reason for each in refused} == {"there are 3 Saga objects: that is `maxObjects`"}
    assert [record.message for record in caplog.records].count(
        "no more Saga objects are made until finished ones have been removed"
    ) == 1
    assert await harness.make_store(objects_max=3).write(more[:1]) != [], "the next engine counts what is there"
    assert len(harness.objects()) == 3
    await store.tend(NOW_MS + harness.retention_finished_ms + 1)
    assert len(await store.write(more)) == 1
    assert len(harness.objects()) == 3


async def test_replay_does_not_bring_back_what_was_removed(harness: KubernetesHarness) -> None:
    later = NOW_MS + harness.retention_finished_ms + 1
    store = harness.make_store(clock=lambda: later)
    await store.write([SagaCopy("done", order_after(3)), SagaCopy("open", order_after(1))])
    assert [found["spec"]["sagaId"] for found in harness.objects()] == ["open"]


async def test_saga_that_leaves_its_final_state_stays(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    await one(store, "order-1", order_after(3))
    assert harness.object_of("order-1")["metadata"]["labels"]["flowmachine.io/finished"] == "true"
    again = msgspec.structs.replace(order_after(3), seq=9, is_final=False)
    await one(store, "order-1", again)
    assert "flowmachine.io/finished" not in harness.object_of("order-1")["metadata"]["labels"]
    await store.tend(NOW_MS + 10**9)
    assert await read_one(store, "order-1") is not None


async def test_history_is_cut_to_what_fits_and_says_so(harness: KubernetesHarness) -> None:
    entry = (
        b'{"state":"paying","timestamp":"2026-01-01T00:00:00.000Z","businessStateId":1,"businessStateDescription":"x"}'
    )
    event = b'{"event":"step","timestamp":"2026-01-01T00:00:00.000Z"}'
    saga = order_after(0)
    history = msgspec.structs.replace(
        saga.history,
        states=msgspec.Raw(b"[" + b",".join([entry] * 20_000) + b"]"),
        events=msgspec.Raw(b"[" + b",".join([event] * 20_000) + b"]"),
    )
    store = harness.make_store()
    assert await one(store, "long", msgspec.structs.replace(saga, history=history)) == []
    status = harness.object_of("long")["status"]
    assert status["historyCut"] > 0
    assert len(status["history"]["states"]) == len(status["history"]["events"]) == 20_000 - status["historyCut"]


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_saga_that_is_too_large_is_refused_and_the_others_go_on(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    large = order_after(1, metadata={"blob": "x" * 500_000})
    refused = await store.write([SagaCopy("large", large), SagaCopy("small", order_after(1))])
    assert [each.saga_id for each in refused] == ["large"]
    assert "400000 fit" in refused[0].reason
    assert [found["spec"]["sagaId"] for found in harness.objects()] == ["small"]


async def test_objects_changed_by_hand_are_put_right_with_the_next_change(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    await one(store, "order-1", order_after(1))
    by_hand = ("--subresource=status", "--type=merge", "-p", '{"status":{"currentState":"wrong"}}')
    harness.cluster.kubectl("patch", "saga", "shop.order-1", "-n", harness.namespace, *by_hand)
    assert await one(store, "order-1", order_after(2)) == []
    assert harness.object_of("order-1")["status"]["currentState"] == "delivering"
    harness.cluster.kubectl("delete", "saga", "shop.order-1", "-n", harness.namespace)
    assert await one(store, "order-1", order_after(3)) == []
    assert harness.object_of("order-1")["status"]["currentState"] == "delivered"


async def fault_of(store: KubernetesStore) -> tuple[str, str]:
    with pytest.raises(ConfigurationError) as caught:
        await one(store, "order-1", order_after(0))
    return caught.value.problems[0].code, caught.value.problems[0].message


async def test_wrong_token_and_missing_things_are_named(harness: KubernetesHarness, tmp_path: Path) -> None:
    token = tmp_path / "wrong-token"
    token.write_text("wrong")
    wrong = KubeConnection(harness.connection.url, token, harness.connection.ca_path)
    assert (await fault_of(harness.make_store(connection=wrong)))[0] == "store-credentials"
    code, message = await fault_of(harness.make_store(machine="nobody"))
    assert (code, "no FlowMachine 'nobody'" in message) == ("store-missing", True)
    gone = KubeConnection("https://127.0.0.1:1", harness.connection.token_path, harness.connection.ca_path)
    with pytest.raises(TransientError, match="does not answer"):
        await one(harness.make_store(connection=gone), "order-1", order_after(0))


async def test_missing_resource_definition_is_named_and_found_once_it_is_there(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    harness.cluster.kubectl("delete", "crd", "sagas.flowmachine.io")
    try:
        code, message = await fault_of(store)
    finally:
        install_crds(harness.cluster.kubectl)
    assert (code, "apply its CustomResourceDefinition" in message) == ("store-missing", True)
    await write_until_it_works(store, [SagaCopy("order-1", order_after(0))])
    assert await read_one(store, "order-1") is not None


async def test_resource_definition_that_goes_is_named(harness: KubernetesHarness) -> None:
    store = harness.make_store()
    await one(store, "order-1", order_after(0))
    harness.cluster.kubectl("delete", "crd", "sagas.flowmachine.io")
    try:
        with pytest.raises(ConfigurationError, match="CustomResourceDefinition"):
            await store.write([SagaCopy(f"order-{number}", order_after(1)) for number in range(3)])
    finally:
        install_crds(harness.cluster.kubectl)
    await write_until_it_works(store, [SagaCopy(f"order-{number}", order_after(1)) for number in range(3)])
    assert len(harness.objects()) == 3


def account_connection(harness: KubernetesHarness, folder: Path) -> KubeConnection:
    """As the namespace's default service account, which has no rights yet."""
    token = folder / "account-token"
    token.write_text(harness.cluster.kubectl("create", "token", "default", "-n", harness.namespace))
    return KubeConnection(harness.connection.url, token, harness.connection.ca_path)


def grant(harness: KubernetesHarness) -> None:
    account = f"--serviceaccount={harness.namespace}:default"
    arguments = ("-n", harness.namespace, "--clusterrole=cluster-admin", account)
    harness.cluster.kubectl("create", "rolebinding", "all", *arguments)


async def write_until_it_works(store: KubernetesStore, copies: list[SagaCopy]) -> None:
    """As the projector does: the same batch again."""
    async with asyncio.timeout(60):
        while True:
            try:
                assert await store.write(copies) == []
            except (ConfigurationError, TransientError):
                await asyncio.sleep(0.2)
            else:
                return


async def test_missing_right_is_named_and_put_right_without_a_restart(
    harness: KubernetesHarness, tmp_path: Path
) -> None:
    store = harness.make_store(connection=account_connection(harness, tmp_path))
    code, message = await fault_of(store)
    assert code == "store-permission"
    assert 'cannot get resource "flowmachines"' in message
    grant(harness)
    await write_until_it_works(store, [SagaCopy("order-1", order_after(0))])
    assert await read_one(store, "order-1") is not None


async def test_throttled_by_the_server_it_backs_off_and_misses_nothing(
    harness: KubernetesHarness, tmp_path: Path
) -> None:
    """The API server's own priority and fairness refuses everything for this account, with 429."""
    store = harness.make_store(connection=account_connection(harness, tmp_path))
    grant(harness)
    copies = [SagaCopy(f"order-{number}", order_after(1)) for number in range(30)]
    await write_until_it_works(store, copies[:1])
    name = f"throttle-{uuid.uuid4().hex[:8]}"
    harness.cluster.apply(*throttle_manifests(name, harness.namespace))
    try:
        seq = await write_until_refused(store, copies)
    finally:
        harness.cluster.kubectl("delete", "flowschema", name)
        harness.cluster.kubectl("delete", "prioritylevelconfiguration", name)
    await write_until_it_works(store, with_seq(copies, seq))
    found = await store.read([copy.saga_id for copy in copies])
    assert {saga_id: saga.seq if isinstance(saga, Saga) else 0 for saga_id, saga in found.items()} == {
        copy.saga_id: seq for copy in copies
    }


def with_seq(copies: list[SagaCopy], seq: int) -> list[SagaCopy]:
    return [SagaCopy(copy.saga_id, msgspec.structs.replace(copy.saga, seq=seq)) for copy in copies]


async def write_until_refused(store: KubernetesStore, copies: list[SagaCopy]) -> int:
    """Write changes until the server throttles, which it begins a moment later; the `seq` that did not get through."""
    async with asyncio.timeout(90):
        seq = 10
        while True:
            try:
                await store.write(with_seq(copies, seq))
            except TransientError as error:
                if "the API server is busy (it answers 429)" not in str(error):
                    raise
                return seq
            seq += 1


def throttle_manifests(name: str, namespace: str) -> list[dict[str, Any]]:
    """A priority level without a single seat, and a schema that puts the namespace's default account there."""
    api = "flowcontrol.apiserver.k8s.io/v1"
    account = {"kind": "ServiceAccount", "serviceAccount": {"name": "default", "namespace": namespace}}
    everything = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]
    return [
        {
            "apiVersion": api,
            "kind": "PriorityLevelConfiguration",
            "metadata": {"name": name},
            "spec": {
                "type": "Limited",
                "limited": {
                    "nominalConcurrencyShares": 0,
                    "lendablePercent": 0,
                    "borrowingLimitPercent": 0,
                    "limitResponse": {"type": "Reject"},
                },
            },
        },
        {
            "apiVersion": api,
            "kind": "FlowSchema",
            "metadata": {"name": name},
            "spec": {
                "matchingPrecedence": 2,
                "priorityLevelConfiguration": {"name": name},
                "rules": [{"subjects": [account], "resourceRules": everything}],
            },
        },
    ]
