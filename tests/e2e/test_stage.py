"""Somebody's own cluster is asked before a test waits in vain: what stands against it is said in a sentence."""

import pytest

from tests.e2e.conftest import Stage
from tests.support.probe_pod import find_trouble

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]
_NOBODY = "127.0.0.1:9"


def test_pods_of_the_image_run_and_reach_the_broker(stage: Stage) -> None:
    assert find_trouble(stage.kubectl, f"{stage.repository}:{stage.tag}", stage.bootstrap) == ""


def test_image_that_cannot_be_pulled_is_named(stage: Stage) -> None:
    trouble = find_trouble(stage.kubectl, "localhost/nothing:0", stage.bootstrap, seconds=10)
    assert "a pod of localhost/nothing:0 did not run within 10 s: " in trouble
    assert "ImagePull" in trouble


def test_broker_that_pods_do_not_reach_is_named(stage: Stage) -> None:
    trouble = find_trouble(stage.kubectl, f"{stage.repository}:{stage.tag}", _NOBODY)
    assert trouble == f"a pod does not reach the broker {_NOBODY}: [Errno 111] Connection refused"
