"""Rates leave the beginning and the end of a round out, and a round that is too short is no figure."""

import pytest

from bench.broker import Sample as RoundSample
from bench.counting import Sample, rate_of
from bench.errors import RoundFailedError
from bench.load import count_due
from bench.throughput import Amounts, read_off
from bench.workload import EVENTS


def test_a_rate_is_that_of_the_middle() -> None:
    slow_start_and_end = [Sample(0, 0), Sample(10, 10), Sample(11, 50), Sample(12, 90), Sample(50, 100)]
    assert rate_of(slow_start_and_end) == 40


def test_what_was_there_before_does_not_count() -> None:
    assert rate_of([Sample(0, 1000), Sample(10, 1010), Sample(12, 1090), Sample(13, 1100)]) == 40


def test_what_came_between_two_looks_is_no_rate() -> None:
    with pytest.raises(RoundFailedError, match="50 are too few"):
        rate_of([Sample(0, 0), Sample(1, 50)])


def test_a_throughput_round_is_read_off_between_a_tenth_and_nine_tenths() -> None:
    amounts = Amounts(1000, processes=2)
    samples = [
        RoundSample(0.0, 0, 1.0, 5.0),
        RoundSample(1.0, 300, 2.0, 6.0),
        RoundSample(2.0, 1500, 2.5, 6.4),
        RoundSample(3.0, 2700, 3.2, 7.2),
        RoundSample(9.0, 3000, 9.0, 9.0),
    ]
    found = read_off("engine", samples, 0.5, amounts, broker_age=90.0)
    assert found.events_per_second == 1200
    assert (found.cpu_seconds_per_1000, found.broker_cpu_seconds_per_1000) == pytest.approx((0.5, 0.5))
    assert (found.processes, found.partitions, found.events) == (2, 4, 3000)


def test_with_many_partitions_a_round_is_read_off_from_when_the_events_can_be_seen() -> None:
    amounts = Amounts(1000, partitions=100, is_whole=True)
    samples = [
        RoundSample(10.0, 0, 1.0, 5.0),
        RoundSample(11.0, 0, 2.0, 6.0),
        RoundSample(13.0, 2900, 4.0, 8.0),
        RoundSample(13.5, 3000, 5.0, 9.0),
    ]
    found = read_off("engine", samples, 11.5, amounts, broker_age=90.0)
    assert (found.events_per_second, found.cpu_seconds_per_1000) == (1500, 1.0)


def test_events_come_in_rounds_so_that_no_saga_moves_twice_in_a_batch() -> None:
    lane, *others = Amounts(40, partitions=10).events_by_partition()
    keys = [key for key, _ in lane[:4]]
    assert lane == [(key, event) for event in EVENTS for key in keys]
    assert len(others) == 9


@pytest.mark.parametrize(("late_seconds", "count"), [(-0.001, 1), (0.0, 1), (0.0039, 1), (0.0041, 2), (0.1, 26)])
def test_who_is_late_sends_all_that_is_due(late_seconds: float, count: int) -> None:
    assert count_due(late_seconds, rate=1000) == count  # an event every 4 ms in each of the four partitions
