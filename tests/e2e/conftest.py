"""A cluster that runs pods, a Kafka that they reach, and the image built from the Dockerfile.

All are ours, on this machine (`dev.cluster` with a node: root and Go are needed). With KUBECONFIG set they are somebody
else's: FLOWMACHINE_TEST_IMAGE then names an image that this cluster can pull, FLOWMACHINE_TEST_KAFKA_BOOTSTRAP a broker
that its pods and we can reach.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dev.cluster import Cluster, ClusterSettings, Kubectl
from dev.cluster.node import ensure_node_programs
from dev.cluster.programs import provision
from dev.cluster.settings import NODE_ADDRESS
from dev.images import Image, build_image
from dev.kafka.settings import EXTRA
from tests.support.kafka import BOOTSTRAP_VARIABLE, find_session_broker, start_test_broker
from tests.support.kubernetes import KUBECONFIG_VARIABLE, find_session_cluster
from tests.support.probe_pod import find_trouble
from tests.support.tools import skipped_without_tools

IMAGE_VARIABLE = "FLOWMACHINE_TEST_IMAGE"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where the test plays."""

    kubectl: Kubectl
    repository: str
    tag: str
    bootstrap: str


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The cluster, with the image at hand, and Kafka."""
    if os.environ.get(KUBECONFIG_VARIABLE):
        yield _find_stage(tmp_path_factory.mktemp("kubernetes"))
        return
    image = _provision()
    with Cluster(ClusterSettings(node=True)) as cluster:
        cluster.load_image(image.archive)
        kafka = start_test_broker(extra_host=NODE_ADDRESS)
        try:
            kubectl = Kubectl(cluster.kubectl_program, cluster.kubeconfig, cluster.layout.kubectl_cache)
            repository, tag = image.name.rsplit(":", 1)
            yield Stage(kubectl, repository, tag, kafka.bootstrap_of(EXTRA))
        finally:
            kafka.close()


def _provision() -> Image:
    with skipped_without_tools(f"Or name a cluster in {KUBECONFIG_VARIABLE}."):
        ensure_node_programs(print)
        provision(print)
        return build_image(report=print)


def _find_stage(folder: Path) -> Stage:
    image = os.environ.get(IMAGE_VARIABLE, "")
    if ":" not in image or not os.environ.get(BOOTSTRAP_VARIABLE):
        pytest.skip(
            f"With {KUBECONFIG_VARIABLE} set, {IMAGE_VARIABLE} must name an image (NAME:TAG) that the cluster pulls, "
            f"and {BOOTSTRAP_VARIABLE} a broker that its pods and this machine reach."
        )
    cluster, broker = find_session_cluster(folder), find_session_broker()
    assert cluster is not None, "the variable is set"
    assert broker is not None, "the variable is set"
    trouble = find_trouble(cluster.kubectl, image, broker.bootstrap)
    if trouble:
        pytest.fail(f"The cluster that {KUBECONFIG_VARIABLE} names will not do: {trouble}", pytrace=False)
    repository, tag = image.rsplit(":", 1)
    return Stage(cluster.kubectl, repository, tag, broker.bootstrap)
