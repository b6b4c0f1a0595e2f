"""Figures of one and two processes have names of their own, and a target may have a step on the way."""

from bench import partitions, throughput, utilization
from bench.figures import TARGETS, Figure, Target
from bench.report import build_table, to_entry
from bench.throughput import ProgramName, ThroughputRound
from bench.utilization import UtilizationRound


def a_round(program: ProgramName, rate: float, *, processes: int = 1, partitions: int = 4) -> ThroughputRound:
    return ThroughputRound(program, processes, partitions, rate, 0.02, 0.01, 1000, 90.0)


def test_the_ratios_of_two_processes_are_figures_of_their_own() -> None:
    rounds = [a_round("engine", 60), a_round("passthrough", 100), a_round("compressing", 120)]
    rounds += [a_round("engine", 80, processes=2), a_round("passthrough", 100, processes=2)]
    rounds += [a_round("compressing", 160, processes=2)]
    rounds += [a_round(program, 50, processes=2, partitions=2) for program in ("engine", "passthrough", "compressing")]
    values = {figure.name: figure.value for figure in throughput.build_figures(rounds)}
    assert values["throughput.ratio_each"] == 1.0
    assert (values["throughput.ratio"], values["throughput.ratio_2"]) == (0.6, 0.8)
    assert (values["throughput.ratio_compressing"], values["throughput.ratio_compressing_2"]) == (0.5, 0.5)
    assert values["throughput.engine_2"] == 80
    assert values["throughput.engine_broker_cpu_2"] == 0.01
    assert {name for name in TARGETS if name.startswith("throughput.")} <= set(values)


def test_partitions_are_told_apart() -> None:
    rounds = [a_round(program, 10.0 * n, partitions=n) for n in (1, 10) for program in ("engine", "passthrough")]
    values = {figure.name: figure.value for figure in partitions.build_figures(rounds)}
    assert (values["partitions.engine_1"], values["partitions.engine_10"]) == (10, 100)


def test_each_share_of_the_maximum_has_its_median() -> None:
    rounds = [
        UtilizationRound("engine", 1000.0 * n, 0.02, (1.0 * n, 2.0 * n, 3.0 * n), (4.0, 5.0, 6.0), (0.0, 0.0, 0.0), 90)
        for n in (1, 2, 3)
    ]
    rounds += [UtilizationRound("passthrough", 9000, 0.01, (1, 1, 1), (2, 2, 2), (0, 0, 0), 90)]
    values = {figure.name: figure.value for figure in utilization.build_figures(rounds)}
    assert values["utilization.engine_max"] == 2000
    assert (values["utilization.engine_10_p50"], values["utilization.engine_90_p50"]) == (2.0, 6.0)
    assert values["utilization.passthrough_50_p99"] == 2


def test_a_target_may_have_a_step_on_the_way() -> None:
    target = Target("at least", 0.75, first=0.5)
    assert [(target.is_met(value), target.is_first_met(value)) for value in (0.4, 0.6, 0.8)] == [
        (False, False),
        (False, True),
        (True, True),
    ]
    assert not Target("at most", 1.3).is_first_met(1.4)


def test_table_and_file_show_both_steps() -> None:
    figure = Figure("throughput.ratio", "ratio", 0.6, "ratio")
    entry = to_entry(figure)
    assert (entry["target"], entry["is_met"]) == ("at least 0.75", False)
    assert (entry["first_target"], entry["is_first_met"]) == ("at least 0.5", True)
    columns = [list(column.cells) for column in build_table([figure]).columns]
    assert columns[3:] == [["≥ 0.75 (first ≥ 0.50)"], ["[yellow]first[/]"]]
