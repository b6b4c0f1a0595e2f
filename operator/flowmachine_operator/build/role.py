"""What the engines may do at the API server: nothing, unless their store is `kubernetes`.

Then a Role lets their service account read their own FlowMachine, which owns the Saga objects, and write these. The
operator must itself have every right that it gives away (`helm/flowmachine/files/rules.yaml`).
"""

from typing import Final

from flowmachine_operator.build.identity import child, child_name
from flowmachine_operator.build.subject import Manifest, Subject

_RBAC: Final = "rbac.authorization.k8s.io"
_GROUP: Final = "flowmachine.io"


def has_saga_objects(subject: Subject) -> bool:
    """Whether the engines write Saga objects, and so need a token."""
    return subject.resource.spec.persistence.type == "kubernetes"


def service_account_name(subject: Subject) -> str:
    """The account that the pods run under: the machine's template may name another one than ours."""
    named = subject.resource.spec.template.get("serviceAccountName")
    return named if isinstance(named, str) else child_name(subject)


def build_role(subject: Subject) -> Manifest | None:
    """The rights; None when none are needed."""
    if not has_saga_objects(subject):
        return None
    rules: list[object] = [
        {
            "apiGroups": [_GROUP],
            "resources": ["flowmachines"],
            "resourceNames": [subject.name],
            "verbs": ["get"],
        },
        {"apiGroups": [_GROUP], "resources": ["sagas"], "verbs": ["get", "list", "create", "patch", "delete"]},
        {"apiGroups": [_GROUP], "resources": ["sagas/status"], "verbs": ["patch"]},
    ]
    return child(subject, api_version=f"{_RBAC}/v1", kind="Role", name=child_name(subject), rules=rules)


def build_role_binding(subject: Subject) -> Manifest | None:
    """Gives them to the engines."""
    if not has_saga_objects(subject):
        return None
    return child(
        subject,
        api_version=f"{_RBAC}/v1",
        kind="RoleBinding",
        name=child_name(subject),
        roleRef={"apiGroup": _RBAC, "kind": "Role", "name": child_name(subject)},
        subjects=[{"kind": "ServiceAccount", "name": service_account_name(subject), "namespace": subject.namespace}],
    )
