"""What `flowmachine check` says about a FlowMachine, and what stands against it in a cluster on top."""

from dataclasses import dataclass

from flowmachine.config.build import check_resource
from flowmachine.config.documents import as_object
from flowmachine.config.load import load_document
from flowmachine.config.resource import FlowMachine
from flowmachine.config.topic_names import kafka_channels
from flowmachine.errors import ConfigurationError, Problem
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.build.template import check_template

SOURCE = "the FlowMachine"

_NO_KAFKA = Problem(
    "spec.channels",
    "kafka-needed",
    "one channel must be kafka: in a cluster the log is Kafka, since a pod's disk does not outlive the pod",
)


@dataclass(frozen=True, slots=True)
class Judgement:
    """All that is to say about a FlowMachine."""

    resource: FlowMachine | None
    """None when it cannot be read at all."""
    problems: tuple[Problem, ...]
    """Why it cannot run; empty when it can."""
    warnings: tuple[Problem, ...] = ()


def judge(manifest: Manifest) -> Judgement:
    """The judgement of an object as the API server has it; never raises for what stands in it."""
    metadata = as_object(manifest.get("metadata"))
    document = {
        "apiVersion": manifest.get("apiVersion"),
        "kind": manifest.get("kind"),
        "metadata": {name: metadata[name] for name in ("name", "namespace") if name in metadata},
        "spec": manifest.get("spec"),
    }
    template_problems = check_template(as_object(as_object(manifest.get("spec")).get("template")))
    try:
        resource = load_document(document, SOURCE)
    except ConfigurationError as error:
        return Judgement(None, (*error.problems, *template_problems))
    problems = list(template_problems)
    if not kafka_channels(resource):
        problems.append(_NO_KAFKA)
    warnings: list[Problem] = []
    for finding in check_resource(resource):
        found = Problem(f"spec.{finding.path}", finding.code, finding.message)
        (warnings if finding.severity == "warning" else problems).append(found)
    return Judgement(resource, tuple(problems), tuple(warnings))


def new_problems(judged: Judgement, before: Judgement) -> tuple[Problem, ...]:
    """Problems that an update brings: an object that was wrong already can still be changed and deleted."""
    known = {(problem.path, problem.code) for problem in before.problems}
    return tuple(problem for problem in judged.problems if (problem.path, problem.code) not in known)
