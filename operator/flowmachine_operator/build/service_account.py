"""The engines' ServiceAccount: an identity without any right, so that nothing is granted to them by accident."""

from flowmachine_operator.build.identity import child, child_name
from flowmachine_operator.build.subject import Manifest, Subject


def build_service_account(subject: Subject) -> Manifest | None:
    """The ServiceAccount; None when the machine's template names another one."""
    if subject.resource.spec.template.get("serviceAccountName") is not None:
        return None
    return child(
        subject,
        api_version="v1",
        kind="ServiceAccount",
        name=child_name(subject),
        automountServiceAccountToken=False,
    )
