"""A `Saga` resource for every saga, so that `kubectl get sagas` shows them.

| module     | holds                                                                              |
|------------|------------------------------------------------------------------------------------|
| `api`      | requests to the API server with a pod's own credentials; what goes wrong, as ours  |
| `manifest` | a saga as a resource and back; pure                                                |
| `store`    | the store: when what is written and removed                                        |
"""

from flowmachine.adapters.kubernetes.api import KubeApi, KubeConnection, in_cluster_connection
from flowmachine.adapters.kubernetes.store import KubernetesStore

__all__ = ["KubeApi", "KubeConnection", "KubernetesStore", "in_cluster_connection"]
