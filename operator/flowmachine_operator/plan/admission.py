"""The answer of the validating webhook: a pure function of the question.

| the request                                     | the answer                                        |
|-------------------------------------------------|---------------------------------------------------|
| a new FlowMachine with problems                 | refused, with all of them                         |
| an update that brings a problem                 | refused, with those that it brings                |
| an update that leaves the spec, or of a dying one | allowed: labels and finalizers must stay writable |
| anything else                                   | allowed; what only looks odd is a warning         |
"""

from typing import Final

from flowmachine.config.documents import as_object
from flowmachine_operator.build.subject import Manifest
from flowmachine_operator.plan.judge import judge, new_problems
from flowmachine_operator.plan.verdict import list_problems

WARNINGS_MAX: Final = 10
WARNING_LENGTH_MAX: Final = 256
"""kubectl prints them all, and the API server cuts what is longer."""

_INVALID: Final = 422


def plan_admission(review: Manifest) -> Manifest:
    """The AdmissionReview that answers one."""
    request = as_object(review.get("request"))
    new, old = as_object(request.get("object")), as_object(request.get("oldObject"))
    answer: Manifest = {"uid": request.get("uid"), "allowed": True}
    is_dying = "deletionTimestamp" in as_object(new.get("metadata"))
    if new and not is_dying and new.get("spec") != old.get("spec"):
        judged = judge(new)
        problems = new_problems(judged, judge(old)) if old else judged.problems
        if problems:
            status = {"code": _INVALID, "reason": "Invalid", "message": list_problems(problems)}
            answer |= {"allowed": False, "status": status}
        warnings = [str(warning)[:WARNING_LENGTH_MAX] for warning in judged.warnings[:WARNINGS_MAX]]
        if warnings:
            answer["warnings"] = warnings
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}
