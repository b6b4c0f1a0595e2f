"""The Secret for literals that stand in the FlowMachine itself."""

import base64

from flowmachine_operator.build.document import EngineDocument, literals_name
from flowmachine_operator.build.identity import child
from flowmachine_operator.build.subject import Manifest, Subject


def build_secret(subject: Subject, engine_document: EngineDocument) -> Manifest | None:
    """The Secret; None when the machine has no literals. In `data`: `stringData` is never read back, only written."""
    if not engine_document.literals:
        return None
    data = {key: base64.b64encode(value.encode()).decode() for key, value in sorted(engine_document.literals.items())}
    return child(subject, api_version="v1", kind="Secret", name=literals_name(subject), type="Opaque", data=data)
