"""Brings the children of one FlowMachine into step, and tells which could not be.

The Deployment comes last: its pods need the others, and its annotation tells the content of the Secret that was written
just before. It is left alone while it is not known what lies outside, and while new pods could not do what those that
run do.
"""

from dataclasses import dataclass

from flowmachine.config.documents import as_object
from flowmachine_operator.apply import Applier
from flowmachine_operator.build.document import EngineDocument, literals_name
from flowmachine_operator.build.subject import Manifest, Subject
from flowmachine_operator.errors import ApiRefusedError, ApiUnavailableError
from flowmachine_operator.gather import Observed, secret_version
from flowmachine_operator.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, Kind
from flowmachine_operator.plan.children import ChildOptions, build_children, keeps_deployment
from flowmachine_operator.plan.facts import Outside
from flowmachine_operator.plan.ownership import Ownership, find_ownership
from flowmachine_operator.plan.replicas import ReplicaPlan


@dataclass(frozen=True, slots=True)
class Applied:
    """The children afterwards."""

    deployment: Manifest | None
    refusals: tuple[str, ...] = ()
    """Which could not be written, and why."""


async def apply_children(
    applier: Applier,
    seen: Observed,
    subject: Subject,
    document: EngineDocument,
    options: ChildOptions,
    replicas: ReplicaPlan,
    outside: Outside | None,
) -> Applied:
    """Write and delete what is not as it should be. Raises ApiUnavailableError when it is too early for that."""
    live, refusals = _sort_out(seen, subject)
    foreign = seen.children.keys() - live.keys()
    versions = {} if outside is None else dict(outside.secret_versions)
    wanted = build_children(subject, document, options, replicas=replicas.replicas, secret_versions=versions)
    for kind, manifest in wanted.items():
        if kind == DEPLOYMENT or kind in foreign:
            continue
        there = _find_config_map(seen, manifest) if kind == CONFIG_MAP else live.get(kind)
        applied = await _try_apply(applier, kind, manifest, there, refusals)
        if kind == SECRET and applied is not None:
            versions[literals_name(subject)] = secret_version(applied)
    for kind, there in live.items():
        if kind not in wanted:
            await applier.delete_child(kind, there)
    deployment = live.get(DEPLOYMENT)
    if outside is None or refusals or keeps_deployment(outside, replicas, live):
        return Applied(deployment, tuple(refusals))
    wanted = build_children(subject, document, options, replicas=replicas.replicas, secret_versions=versions)
    deployment = await _try_apply(applier, DEPLOYMENT, wanted[DEPLOYMENT], deployment, refusals) or deployment
    return Applied(deployment, tuple(refusals))


def _sort_out(seen: Observed, subject: Subject) -> tuple[dict[Kind, Manifest], list[str]]:
    """Our own children, and what is said about objects of their names that are somebody else's."""
    own: dict[Kind, Manifest] = {}
    refusals: list[str] = []
    for kind, live in seen.children.items():
        whose = find_ownership(live, machine=subject.name, uid=subject.uid)
        what = f"the {kind.kind} {as_object(live['metadata']).get('name')}"
        if whose is Ownership.OURS:
            own[kind] = live
        elif whose is Ownership.OLD:
            raise ApiUnavailableError(f"{what} of a deleted FlowMachine of this name is still there")
        else:
            refusals.append(f"{what} exists and is not this FlowMachine's: delete it, or rename the FlowMachine")
    return own, refusals


async def _try_apply(
    applier: Applier, kind: Kind, manifest: Manifest, live: Manifest | None, refusals: list[str]
) -> Manifest | None:
    try:
        return await applier.apply_child(manifest, live)
    except ApiRefusedError as error:
        name = as_object(manifest["metadata"])["name"]
        # What is refused in a Secret may be quoted by the API server.
        said = error.reason if kind == SECRET else str(error)
        refusals.append(f"the API server refuses the {kind.kind} {name}: {said}")
        return None


def _find_config_map(seen: Observed, manifest: Manifest) -> Manifest | None:
    name = as_object(manifest["metadata"])["name"]
    return next((item for item in seen.config_maps if as_object(item["metadata"]).get("name") == name), None)
