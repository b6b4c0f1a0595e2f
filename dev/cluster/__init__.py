"""A real Kubernetes cluster (no Docker) for contributors and tests; `python -m dev.cluster up` or `Cluster`.

multicall/ is a Go module of ours that builds all programs as one binary. Modules, lower ones first; each imports only
those above it, what all tools of `dev` share, and from `dev.images` the image that every pod begins with:

programs       multicall/ -> the programs in the user's cache
settings       what a cluster shall be: `ClusterSettings`; where its files lie
node_files     settings -> the configuration files of the node
command_lines  settings -> the arguments of each program
credentials    certificates, keys, tokens, kubeconfig files
component      one process: how it is spawned
state          what runs in a data folder
probe          is a program ready?
kubectl        kubectl against one cluster
network        the link with the node's address, and whose cluster it is
sweep          removes what pods leave on the machine
node           what containerd, kubelet and kube-proxy need around them
watchdog       ends the programs of a test run that was killed
cluster        `Cluster`: all programs together
"""

from dev.cluster.cluster import Cluster
from dev.cluster.kubectl import Kubectl
from dev.cluster.settings import ClusterSettings

__all__ = ["Cluster", "ClusterSettings", "Kubectl"]
