"""The seal of a child: an annotation that changes with the manifest.

By it a field that is no longer wanted is noticed: nothing else tells that what stands there was ours and must go. The
content of Secrets is not part of it, because a hash would tell a short password; their content is compared itself.
"""

import json
from typing import Final

from flowmachine.config.documents import as_object
from flowmachine_operator.build.identity import short_hash
from flowmachine_operator.build.subject import Manifest

SEAL_ANNOTATION: Final = "flowmachine.io/applied"


def seal(manifest: Manifest) -> Manifest:
    """The manifest with its seal."""
    told = manifest
    if manifest.get("kind") == "Secret":
        told = {**manifest, "data": sorted(as_object(manifest.get("data")))}
    metadata = as_object(manifest["metadata"])
    mark = short_hash(json.dumps(told, sort_keys=True, ensure_ascii=False))
    annotations = {**as_object(metadata.get("annotations")), SEAL_ANNOTATION: mark}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}
