"""Reads the world. Nothing here decides, nothing here writes.

`gather_observed`   a FlowMachine and the objects that are, or should be, its children
`gather_outside`    what else a machine depends on: Secrets that it names, Kafka, what engines say of sagas and store
"""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from flowmachine.config.documents import as_array, as_object
from flowmachine.config.resource import FlowMachine
from flowmachine_operator.build.document import EngineDocument
from flowmachine_operator.build.identity import MACHINE_LABEL, format_selector
from flowmachine_operator.build.subject import HTTP_PORT, Manifest
from flowmachine_operator.kafka_facts import SecretData, gather_kafka
from flowmachine_operator.kinds import CONFIG_MAP, FLOW_MACHINE, POD, SECRET, Kind
from flowmachine_operator.kube_api import KubeApi
from flowmachine_operator.plan.children import name_of
from flowmachine_operator.plan.facts import Outside, StoreFacts

ENGINE_SECONDS_MAX: Final = 3.0
"""An engine answers in milliseconds; one that does not is not asked again before the next round."""

SAGAS_METRIC: Final = "flowmachine_sagas"
_ANSWERS: Final = frozenset({HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE})
_VERSION_LENGTH: Final = 16


@dataclass(frozen=True, slots=True)
class Observed:
    """What the API server has, of one machine."""

    machine: Manifest
    children: Mapping[Kind, Manifest]
    """Objects of the children's names, whoever's they are."""
    config_maps: Sequence[Manifest]
    """Those of all revisions, without their content: a ConfigMap's name says what is in it."""


@dataclass(frozen=True, slots=True)
class Secrets:
    """The Secrets that a machine names."""

    versions: Mapping[str, str]
    missing: tuple[str, ...]
    data: SecretData = field(repr=False)


async def gather_observed(api: KubeApi, namespace: str, name: str, kinds: Sequence[Kind]) -> Observed | None:
    """What is there; None when there is no such FlowMachine."""
    machine = await api.get(FLOW_MACHINE.path(namespace, name))
    if machine is None:
        return None
    single = [kind for kind in kinds if kind != CONFIG_MAP]
    paths = [kind.path(namespace, name_of(kind, name)) for kind in single]
    selector = f"{MACHINE_LABEL}={name}"
    *found, config_maps = await asyncio.gather(
        *(api.get(path) for path in paths), api.list_metadata(CONFIG_MAP.path(namespace), selector=selector)
    )
    children = {kind: live for kind, live in zip(single, found, strict=True) if live is not None}
    items = as_array(as_object(config_maps).get("items"))
    return Observed(machine, children, tuple(as_object(item) for item in items))


async def gather_outside(
    api: KubeApi, session: aiohttp.ClientSession, resource: FlowMachine, document: EngineDocument, *, own_secret: str
) -> Outside:
    """What is found now. Takes as long as Kafka lets us wait, at most `kafka_facts.ASK_SECONDS_MAX`, and a bit."""
    namespace, name = resource.metadata.namespace or "", resource.metadata.name
    addresses = await gather_addresses(api, namespace, name)
    sagas = await gather_sagas(session, addresses)
    store = StoreFacts(kind="none")
    if resource.spec.persistence.type != "none":
        store = await gather_store(session, addresses)
    secrets = await gather_secrets(api, namespace, document, own_secret=own_secret)
    if secrets.missing:
        return Outside(secrets.versions, secrets.missing, sagas=sagas, store=store)
    return Outside(secrets.versions, (), await gather_kafka(resource, secrets.data), sagas, store)


async def gather_secrets(api: KubeApi, namespace: str, document: EngineDocument, *, own_secret: str) -> Secrets:
    """The Secrets that a machine names; the one that the operator makes is not among them."""
    named = sorted(place for place in document.mounted if place[0] != own_secret)
    names = sorted({name for name, _ in named})
    answers = await asyncio.gather(*(api.get(SECRET.path(namespace, name)) for name in names))
    found = {name: secret for name, secret in zip(names, answers, strict=True) if secret is not None}
    content = {name: as_object(secret.get("data")) for name, secret in found.items()}
    missing = [name for name in names if name not in found]
    missing += [f"{name}/{key}" for name, key in named if name in found and key not in content[name]]
    return Secrets(
        versions={name: secret_version(secret) for name, secret in found.items()},
        missing=tuple(missing),
        data={(name, key): base64.b64decode(str(content[name].get(key) or "")) for name, key in named if name in found},
    )


def secret_version(secret: Manifest) -> str:
    """Changes when the content of the Secret changes, and only then.

    A keyed hash: without the Secret's uid, which only those see who may read Secrets, it tells nothing about a short
    password. The resourceVersion would do too, but every touched annotation would start the engines anew.
    """
    uid = str(as_object(secret["metadata"]).get("uid"))
    content = json.dumps(secret.get("data") or {}, sort_keys=True)
    return hmac.new(uid.encode(), content.encode(), hashlib.sha256).hexdigest()[:_VERSION_LENGTH]


async def gather_addresses(api: KubeApi, namespace: str, name: str) -> tuple[str, ...]:
    """Where the ready engines of a machine are."""
    pods = await api.list(POD.path(namespace), selector=format_selector(name))
    return tuple(address for pod in pods if (address := _ready_address(pod)) is not None)


async def gather_sagas(session: aiohttp.ClientSession, addresses: Sequence[str]) -> Mapping[str, int] | None:
    """How many sagas are in each state; None when a ready engine does not answer, so that no count is half a count."""
    answers = await asyncio.gather(*(_ask_engine(session, address, "metrics") for address in addresses))
    if not answers or None in answers:
        return None
    total: dict[str, int] = {}
    for answer in answers:
        for state, count in _read_sagas(answer or b"").items():
            total[state] = total.get(state, 0) + count
    return total


async def gather_store(session: aiohttp.ClientSession, addresses: Sequence[str]) -> StoreFacts:
    """What the engines say of the store: the first complaint counts, as each copies sagas of its own."""
    answers = await asyncio.gather(*(_ask_engine(session, address, "check-up") for address in addresses))
    told = [store for answer in answers if answer is not None and (store := _read_store(answer)) is not None]
    return next((store for store in told if store.code), told[0] if told else StoreFacts())


async def count_pods(api: KubeApi, namespace: str, name: str) -> int:
    """How many pods of the machine are left, also such as are about to end."""
    return len(await api.list(POD.path(namespace), selector=format_selector(name)))


def _ready_address(pod: Manifest) -> str | None:
    status = as_object(pod.get("status"))
    conditions = map(as_object, as_array(status.get("conditions")))
    is_ready = any(item.get("type") == "Ready" and item.get("status") == "True" for item in conditions)
    address = status.get("podIP")
    if not is_ready or not isinstance(address, str) or "deletionTimestamp" in as_object(pod["metadata"]):
        return None
    return f"[{address}]" if ":" in address else address


async def _ask_engine(session: aiohttp.ClientSession, address: str, what: str) -> bytes | None:
    """The body, also of a 503: an engine that is not well says the most."""
    url = f"http://{address}:{HTTP_PORT}/-/{what}"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=ENGINE_SECONDS_MAX)) as response:
            return await response.read() if response.status in _ANSWERS else None
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
        return None


def _read_sagas(metrics: bytes) -> dict[str, int]:
    return {
        sample.labels["state"]: int(sample.value)
        for family in text_string_to_metric_families(metrics.decode())
        if family.name == SAGAS_METRIC
        for sample in family.samples
    }


def _read_store(check_up: bytes) -> StoreFacts | None:
    """What an engine says of the store; None for one that does not write to it."""
    try:
        store = as_object(as_object(json.loads(check_up)).get("store"))
    except ValueError:  # something else answers there
        return None
    if not store:
        return None
    return StoreFacts(kind=str(store.get("type")), code=str(store.get("code")), problem=str(store.get("problem")))
