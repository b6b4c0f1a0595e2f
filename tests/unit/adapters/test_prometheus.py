"""The Prometheus observer: what it counts, what it forgets, and that `docs/metrics.md` says the same."""

import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.parser import text_string_to_metric_families

from flowmachine.adapters.prometheus import PrometheusObserver
from flowmachine.adapters.prometheus.observer import TRANSITION_BUCKETS
from flowmachine.core.actions import HookFailure, Outcome
from flowmachine.core.phases import Phase
from flowmachine.partition.plan import BatchPlan, FailedHook, Unmatched

PAGE = (Path(__file__).resolve().parents[3] / "docs/metrics.md").read_text("utf-8")


def batch(
    *,
    entered: Counter[tuple[str, str]] | None = None,
    outcomes: Counter[Outcome] | None = None,
    unmatched: list[Unmatched] | None = None,
    failed_hooks: list[FailedHook] | None = None,
    forwarded: int = 0,
    moved_at_ms: list[int] | None = None,
) -> BatchPlan:
    return BatchPlan(
        records=[],
        next_offsets={},
        changed={},
        state_changes=Counter(),
        held_changes=Counter(),
        finished=[],
        outboxes={},
        entered=entered or Counter(),
        outcomes=outcomes or Counter(),
        unmatched=unmatched or [],
        failed_hooks=failed_hooks or [],
        forwarded=forwarded,
        expired_count=0,
        resumable=[],
        moved_at_ms=moved_at_ms or [],
    )


@pytest.fixture
def observer() -> PrometheusObserver:
    return PrometheusObserver(version="1.2.3", machine="orders", revision="abc")


Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(observer: PrometheusObserver) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(observer.render().decode())
        for sample in family.samples
    }


def of(observer: PrometheusObserver, name: str) -> dict[tuple[str, ...], float]:
    """The samples of one metric, by the values of its labels in the order of the labels' names."""
    return {
        tuple(value for _, value in labels): count
        for (found, labels), count in samples(observer).items()
        if found == name
    }


def exercise(observer: PrometheusObserver) -> None:
    """Make every metric show itself."""
    observer.phase_changed(0, Phase.RESTORING)
    observer.restored(0, 7, 0.2)
    observer.sagas_counted(0, {"CREATED": 1}, {"CREATED": 1})
    observer.phase_changed(0, Phase.RUNNING)
    observer.lagged(0, 12)
    observer.outbox_counted({("mail", "answer"): 2})
    observer.committed(
        0, batch(entered=Counter({("PAID", "paid"): 1}), outcomes=Counter({Outcome.ADVANCED: 1})), 0.03, 0
    )
    failed = FailedHook("order-1", "PAID", HookFailure("prepareOrder", is_side_command=False, reason="boom"))
    observer.committed(0, batch(failed_hooks=[failed]), 0.03, 0)
    observer.transaction_failed(0, "transient")
    observer.command_sent("mail", "delivered")
    observer.store.projected(5, 1, 0.2)
    observer.store.store_failed("postgres", "transient")
    observer.store.projection_lagged(3)


def test_states_entered_and_outcomes_are_counted(observer: PrometheusObserver) -> None:
    plan = batch(
        entered=Counter({("CREATED", "__created__"): 3, ("PAID", "paymentExecuted"): 2}),
        outcomes=Counter({Outcome.CREATED: 3, Outcome.ADVANCED: 2, Outcome.UNEXPECTED: 1}),
        forwarded=4,
    )
    observer.committed(0, plan, 0.03, 0)
    observer.committed(1, plan, 0.03, 0)
    assert of(observer, "flow_manager_saga_states_total") == {
        ("__created__", "CREATED"): 6,
        ("paymentExecuted", "PAID"): 4,
    }
    assert of(observer, "flowmachine_inputs_total") == {("created",): 6, ("advanced",): 4, ("unexpected",): 2}
    assert of(observer, "flowmachine_forwarded_total") == {(): 8}


def test_transactions_and_restores_are_timed(observer: PrometheusObserver) -> None:
    observer.committed(0, batch(), 0.03, 0)
    observer.restored(0, 1000, 0.5)
    observer.transaction_failed(0, "fenced")
    found = samples(observer)
    assert found[("flowmachine_transaction_seconds_count", ())] == 1
    assert found[("flowmachine_transaction_seconds_sum", ())] == pytest.approx(0.03)
    assert found[("flowmachine_restore_seconds_count", ())] == 1
    assert found[("flowmachine_restored_records_total", ())] == 1000
    assert of(observer, "flowmachine_transactions_failed_total") == {("fenced",): 1}


def test_transitions_are_timed_from_their_records(observer: PrometheusObserver) -> None:
    now = 1_700_000_000_000
    observer.committed(0, batch(moved_at_ms=[now - 40, now - 25, now - 400_000]), 0.03, now)
    observer.committed(1, batch(moved_at_ms=[now - 7]), 0.03, now)
    observer.committed(1, batch(), 0.03, now)
    buckets = {float(le): count for (le,), count in of(observer, "flowmachine_transition_seconds_bucket").items()}
    expected = {0.01: 1, 0.025: 2, 0.05: 3, 300.0: 3, float("inf"): 4}
    assert {bound: buckets[bound] for bound in expected} == expected
    assert of(observer, "flowmachine_transition_seconds_count") == {(): 4}
    assert of(observer, "flowmachine_transition_seconds_sum") == {(): pytest.approx(400.072)}


@given(st.lists(st.lists(st.integers(0, 500_000), max_size=20), max_size=5))
def test_transitions_are_counted_as_the_library_would(batches: list[list[int]]) -> None:
    observer, reference = PrometheusObserver(version="1", machine="m", revision="r"), CollectorRegistry()
    histogram = Histogram("flowmachine_transition_seconds", "", buckets=TRANSITION_BUCKETS, registry=reference)
    for ages_ms in batches:
        observer.committed(0, batch(moved_at_ms=[1_000_000 - age for age in ages_ms]), 0.0, 1_000_000)
        for age in ages_ms:
            histogram.observe(age / 1000)
    name = "flowmachine_transition_seconds_bucket"
    expected = {
        (sample.labels["le"],): sample.value
        for family in reference.collect()
        for sample in family.samples
        if sample.name == name
    }
    assert of(observer, name) == expected


def test_a_clock_that_is_ahead_takes_nothing_from_the_sum(observer: PrometheusObserver) -> None:
    observer.committed(0, batch(moved_at_ms=[2_000]), 0.03, 1_000)
    assert of(observer, "flowmachine_transition_seconds_sum") == {(): 0}
    assert of(observer, "flowmachine_transition_seconds_bucket")[("0.01",)] == 1


def test_lag_is_shown_for_partitions_that_are_here(observer: PrometheusObserver) -> None:
    run_partition(observer, 0, {})
    run_partition(observer, 1, {})
    observer.lagged(0, 7)
    observer.lagged(1, 0)
    assert of(observer, "flowmachine_input_lag") == {("0",): 7, ("1",): 0}
    observer.phase_changed(0, Phase.DRAINING)
    observer.lagged(0, 9)  # asked before, answered late
    observer.phase_changed(0, Phase.RELEASED)
    assert of(observer, "flowmachine_input_lag") == {("1",): 0}


def test_partition_that_nobody_has_measured_may_end(observer: PrometheusObserver) -> None:
    run_partition(observer, 0, {})
    observer.phase_changed(0, Phase.FAILED)
    assert of(observer, "flowmachine_input_lag") == {}


def test_outbox_is_shown_as_it_is_when_asked(observer: PrometheusObserver) -> None:
    outbox = Counter({("mail", "answer"): 2})
    observer.outbox_counted(outbox)
    outbox.update({("mail", "person"): 1})
    outbox.subtract({("mail", "answer"): 2})
    assert of(observer, "flowmachine_outbox") == {("mail", "answer"): 0, ("mail", "person"): 1}


def test_nothing_from_messages_becomes_a_label(observer: PrometheusObserver) -> None:
    stray = Unmatched(Outcome.UNEXPECTED, "reason-1", "topic/0/1", "saga-1", "event-nobody-knows")
    observer.committed(0, batch(outcomes=Counter({Outcome.UNEXPECTED: 1}), unmatched=[stray]), 0.03, 0)
    text = observer.render().decode()
    assert not any(word in text for word in ("reason-1", "topic/0/1", "saga-1", "event-nobody-knows"))


def test_only_the_present_phase_is_shown(observer: PrometheusObserver) -> None:
    for phase in (Phase.FENCING, Phase.RESTORING, Phase.RUNNING):
        observer.phase_changed(3, phase)
        assert of(observer, "flowmachine_partition_phase") == {("3", phase.value): 1}
    observer.phase_changed(4, Phase.FAILED)
    assert of(observer, "flowmachine_partition_phase") == {("3", "running"): 1, ("4", "failed"): 1}


def test_released_partition_has_no_phase_here(observer: PrometheusObserver) -> None:
    observer.phase_changed(3, Phase.RUNNING)
    observer.phase_changed(3, Phase.RELEASED)
    assert of(observer, "flowmachine_partition_phase") == {}
    observer.phase_changed(3, Phase.FENCING)
    assert of(observer, "flowmachine_partition_phase") == {("3", "fencing"): 1}


def run_partition(observer: PrometheusObserver, number: int, by_state: dict[str, int]) -> None:
    for phase in (Phase.FENCING, Phase.RESTORING):
        observer.phase_changed(number, phase)
    observer.sagas_counted(number, by_state, {})
    observer.phase_changed(number, Phase.RUNNING)


def test_sagas_are_summed_over_partitions(observer: PrometheusObserver) -> None:
    run_partition(observer, 0, {"CREATED": 2, "PAID": 1})
    run_partition(observer, 1, {"CREATED": 5})
    assert of(observer, "flowmachine_sagas") == {("CREATED",): 7, ("PAID",): 1}
    observer.sagas_counted(1, {"CREATED": 1, "PAID": 4}, {})
    assert of(observer, "flowmachine_sagas") == {("CREATED",): 3, ("PAID",): 5}


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.FAILED, Phase.RELEASED])
def test_partition_that_stops_running_drops_its_share(observer: PrometheusObserver, phase: Phase) -> None:
    run_partition(observer, 0, {"CREATED": 2})
    run_partition(observer, 1, {"CREATED": 5})
    observer.phase_changed(1, phase)
    assert of(observer, "flowmachine_sagas") == {("CREATED",): 2}


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.RELEASED])
def test_last_count_of_a_partition_on_its_way_out_is_left_aside(observer: PrometheusObserver, phase: Phase) -> None:
    """A draining partition commits its last batch; one that is stopped while it restores still ends its restore."""
    run_partition(observer, 0, {"CREATED": 2})
    observer.phase_changed(0, phase)
    observer.sagas_counted(0, {"CREATED": 2}, {})
    assert of(observer, "flowmachine_sagas") == {}


def test_commands_are_counted_by_channel_and_outcome(observer: PrometheusObserver) -> None:
    for outcome in ("retried", "retried", "delivered"):
        observer.command_sent("mail", outcome)
    assert of(observer, "flowmachine_commands_http_total") == {("mail", "retried"): 2, ("mail", "delivered"): 1}


def test_store_is_available_again_once_it_works(observer: PrometheusObserver) -> None:
    observer.store.store_failed("mongo", "store-credentials")
    observer.store.store_failed("mongo", "transient")
    assert of(observer, "flowmachine_store_available") == {("mongo",): 0}
    observer.store.store_worked("mongo")
    observer.store.projected(5, 1, 0.2)
    assert of(observer, "flowmachine_store_available") == {("mongo",): 1}
    assert of(observer, "flowmachine_store_failures_total") == {("store-credentials",): 1, ("transient",): 1}
    assert of(observer, "flowmachine_projected_sagas_total") == {("written",): 5, ("refused",): 1}


def test_build_is_named(observer: PrometheusObserver) -> None:
    assert of(observer, "flowmachine_build_info") == {("orders", "abc", "1.2.3"): 1}


def test_two_observers_do_not_share_anything(observer: PrometheusObserver) -> None:
    other = PrometheusObserver(version="1.2.3", machine="other", revision="abc")
    exercise(observer)
    assert of(other, "flowmachine_inputs_total") == {}


def test_only_documented_series_are_rendered(observer: PrometheusObserver) -> None:
    exercise(observer)
    names = {name for name, _ in samples(observer)}
    assert not {name for name in names if name.endswith("_created")}


# --- docs/metrics.md --------------------------------------------------------------------------------------------------


def documented() -> dict[str, tuple[str, frozenset[str]]]:
    rows = re.findall(r"^\| `((?!flowmachine_operator_)flow\w+)` \| (\w+) \|([^|]*)\|", PAGE, re.MULTILINE)
    return {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_page_lists_what_is_rendered(observer: PrometheusObserver) -> None:
    exercise(observer)
    rendered = {}
    for family in text_string_to_metric_families(observer.render().decode()):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        rendered[name] = (
            family.type,
            frozenset(label for sample in family.samples for label in sample.labels) - {"le"},
        )
    assert documented() == rendered


@pytest.mark.parametrize("outcome", list(Outcome))
def test_page_explains_every_outcome(outcome: Outcome) -> None:
    assert f"| `{outcome.value}` |" in PAGE


@pytest.mark.parametrize("phase", list(Phase))
def test_page_names_every_phase(phase: Phase) -> None:
    assert f"`{phase.value}`" in PAGE
