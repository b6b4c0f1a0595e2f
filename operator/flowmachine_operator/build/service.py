"""The Service: any engine answers any request, so an ordinary one is enough: engines know each other's addresses."""

from typing import Final

from flowmachine_operator.build.identity import child, child_name, selector_labels
from flowmachine_operator.build.subject import Manifest, Subject

SERVICE_PORT: Final = 80


def build_service(subject: Subject) -> Manifest:
    """The Service `fm-{machine}`, port 80, to the ready engines."""
    return child(
        subject,
        api_version="v1",
        kind="Service",
        name=child_name(subject),
        spec={
            "type": "ClusterIP",
            "selector": selector_labels(subject),
            "ports": [
                {"name": "http", "port": SERVICE_PORT, "targetPort": "http", "protocol": "TCP", "appProtocol": "http"}
            ],
        },
    )
