"""Which old ConfigMaps go: those that no pod and no `kubectl rollout undo` will ask for again."""

from collections.abc import Sequence

from flowmachine.config.documents import as_object
from flowmachine_operator.build.deployment import REVISIONS_KEPT
from flowmachine_operator.build.subject import Manifest


def plan_prune(config_maps: Sequence[Manifest], *, current: str, is_rolled_out: bool) -> tuple[Manifest, ...]:
    """Those to delete: all but the current one and the last few before it, once no pod of theirs is left."""
    if not is_rolled_out:
        return ()
    old = [manifest for manifest in config_maps if as_object(manifest["metadata"]).get("name") != current]
    by_age = sorted(old, key=lambda manifest: str(as_object(manifest["metadata"]).get("creationTimestamp")))
    return tuple(by_age[:-REVISIONS_KEPT])
