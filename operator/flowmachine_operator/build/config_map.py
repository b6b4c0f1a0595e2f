"""The ConfigMap of one revision: what engines run. Immutable, so a pod never sees half of a change."""

import json
from typing import Final

from flowmachine.config.build import revision_of
from flowmachine.errors import ConfigurationError
from flowmachine_operator.build.document import EngineDocument
from flowmachine_operator.build.identity import NAME_LENGTH_MAX, REVISION_LABEL, child, child_name, short_hash
from flowmachine_operator.build.subject import CONFIG_FILE, Manifest, Subject

SIZE_BYTES_MAX: Final = 1024 * 1024
"""The API server takes no more in a ConfigMap."""


def build_config_map(subject: Subject, engine_document: EngineDocument) -> Manifest:
    """The ConfigMap, named after a hash of its content: a changed document is another ConfigMap, an equal one the same.

    The label `flowmachine.io/revision` is the machine's revision, which changes less often: it does not depend on
    topics or timeouts. Raises ConfigurationError if the document is too large.
    """
    text = encode_document(engine_document)
    size = len(text.encode())
    if size > SIZE_BYTES_MAX:
        message = (
            f"has {size} bytes, and a ConfigMap takes {SIZE_BYTES_MAX}; shorten descriptions and payload schemas, or "
            "split the machine"
        )
        raise ConfigurationError.of("spec", "too-large", message)
    manifest = child(
        subject,
        api_version="v1",
        kind="ConfigMap",
        name=config_map_name(subject, text),
        immutable=True,
        data={CONFIG_FILE: text},
    )
    metadata = manifest["metadata"]
    assert isinstance(metadata, dict), "a child has metadata"
    metadata["labels"][REVISION_LABEL] = revision_of(subject.resource.spec)
    return manifest


def config_map_name(subject: Subject, text: str) -> str:
    """`fm-{machine}-{hash}`."""
    return child_name(subject, short_hash(text), length_max=NAME_LENGTH_MAX)


def encode_document(engine_document: EngineDocument) -> str:
    """The document as JSON, the same text for the same document whatever the order of its fields."""
    return json.dumps(engine_document.document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
