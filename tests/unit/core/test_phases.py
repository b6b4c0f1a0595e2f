from itertools import product

import pytest

from flowmachine.core.phases import Phase, Signal, advance

ENDED = Phase.RELEASED


@pytest.mark.parametrize(
    ("signals", "phases"),
    [
        (
            "start opened restored stop stopped",
            "fencing restoring running draining released",
        ),
        ("start error start opened error start", "fencing failed fencing restoring failed fencing"),
        ("start opened restored start opened", "fencing restoring running fencing restoring"),
        ("start opened restored error start", "fencing restoring running failed fencing"),
        ("stop", "released"),
        ("start stop", "fencing released"),
        ("start opened stop", "fencing restoring released"),
        ("start error stop", "fencing failed released"),
        ("start opened restored stop error", "fencing restoring running draining released"),
    ],
)
def test_lives_of_a_partition(signals: str, phases: str) -> None:
    phase = Phase.ASSIGNED
    lived = []
    for signal in signals.split():
        phase = advance(phase, Signal(signal))
        lived.append(phase.value)
    assert lived == phases.split()


@pytest.mark.parametrize(("phase", "signal"), list(product(Phase, Signal)))
def test_every_pair_leads_to_a_phase_and_from_there_to_the_end(phase: Phase, signal: Signal) -> None:
    after = advance(phase, signal)
    assert isinstance(after, Phase)
    assert advance(advance(after, Signal.STOP), Signal.STOPPED) is ENDED


@pytest.mark.parametrize("signal", list(Signal))
def test_released_partition_stays_released(signal: Signal) -> None:
    assert advance(ENDED, signal) is ENDED


@pytest.mark.parametrize("phase", list(Phase))
def test_nothing_runs_on_after_an_error(phase: Phase) -> None:
    assert advance(phase, Signal.ERROR) in {Phase.FAILED, ENDED, Phase.ASSIGNED}


def test_only_a_restored_partition_runs() -> None:
    runs_after = {
        (phase, signal) for phase, signal in product(Phase, Signal) if advance(phase, signal) is Phase.RUNNING
    }
    stays = {(Phase.RUNNING, signal) for signal in Signal}
    assert runs_after - stays == {(Phase.RESTORING, Signal.RESTORED)}


@pytest.mark.parametrize("phase", [Phase.FENCING, Phase.RESTORING, Phase.DRAINING])
def test_second_start_changes_nothing_that_is_under_way(phase: Phase) -> None:
    assert advance(phase, Signal.START) is phase
