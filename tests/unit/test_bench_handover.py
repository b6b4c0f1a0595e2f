"""A handover's figures belong to the step in which an event was due, or a pause ended."""

import pytest

from bench.errors import RoundFailedError
from bench.handover import Played, evaluate

# Two events a second, in turn to partitions 0 and 1, from second 10 on. The commands of partition 1 stand still from
# 11.6 to 14.1; the event that was due at 12.5 waits for 1.6 s.
RATE = 2
SEEN = [10.1, 10.6, 11.1, 11.6, 12.1, 14.1, 13.1, 14.1, 14.1, 14.6]


def played(began: float, ended: float) -> Played:
    return Played("stop", began, ended, restores=1, records=7)


def test_gaps_are_those_of_the_events_that_were_due_meanwhile_or_half_a_second_before() -> None:
    step = evaluate(played(12.5, 13.5), 10.0, SEEN, RATE, 100)
    assert (step.events, round(step.gap_ms), round(step.p50_ms)) == (2, 1600, 1600)
    before = evaluate(played(10.0, 12.5), 10.0, SEEN, RATE, 100)
    assert (before.events, round(before.gap_ms)) == (4, 100)


def test_a_pause_is_that_of_one_partition_and_of_the_step_in_which_it_ended() -> None:
    step = evaluate(played(12.0, 15.0), 10.0, SEEN, RATE, 100)
    assert (round(step.pause_ms), round(step.done_seconds, 1)) == (2500, 2.1)
    assert round(evaluate(played(11.0, 12.0), 10.0, SEEN, RATE, 100).pause_ms) == 1000


def test_a_step_without_events_is_no_figure() -> None:
    with pytest.raises(RoundFailedError, match="no event was due in the step stop"):
        evaluate(played(20.0, 21.0), 10.0, SEEN, RATE, 100)
