"""Figures: what was measured, in which unit, and what was aimed at.

Each measurement turns its rounds into figures (`build_figures`). A figure of several rounds is their median, and the
rounds are kept beside it. Ratios are between medians.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Literal

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Target:
    """What a figure should be. Missing it fails nothing."""

    bound: Literal["at most", "at least"]
    value: float
    first: float | None = None
    """A step on the way, which was asked for first."""

    def is_met(self, value: float) -> bool:
        """Whether a figure is as it should be."""
        return self._is_within(value, self.value)

    def is_first_met(self, value: float) -> bool:
        """Whether it has come as far as the first step; without one, whether it is as it should be."""
        return self._is_within(value, self.value if self.first is None else self.first)

    def _is_within(self, value: float, limit: float) -> bool:
        return value <= limit if self.bound == "at most" else value >= limit


TARGETS: dict[str, Target] = {
    "throughput.ratio": Target("at least", 0.75, first=0.5),
    "throughput.ratio_2": Target("at least", 0.75),
    "throughput.ratio_each": Target("at least", 0.75, first=0.5),
    "journey.exactlyOnce_p50": Target("at most", 80),
    "journey.exactlyOnce_p99": Target("at most", 200),
    "journey.atLeastOnce_p50": Target("at most", 30),
    "journey.atLeastOnce_p99": Target("at most", 90),
    "latency.ratio_p50": Target("at most", 1.3),
    "latency.ratio_p99": Target("at most", 1.3),
    "loop.ratio_1": Target("at least", 0.7),
    "loop.ratio_2": Target("at least", 0.7),
    "memory.paid": Target("at most", 1.5 * _KIB),
}
"""By figure. Only what has been decided stands here; a figure without a target is shown all the same."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table, and of the file."""

    name: str
    """`measurement.what`, never changed: files of different versions are compared by it."""
    text: str
    value: float
    unit: str
    rounds: tuple[dict[str, Any], ...] = field(default=())

    @property
    def target(self) -> Target | None:
        """Its target, if there is one."""
        return TARGETS.get(self.name)


def median_of(name: str, text: str, rounds: Sequence[Any], attribute: str, unit: str) -> Figure:
    """The median of one attribute of these rounds."""
    value = median(getattr(one, attribute) for one in rounds)
    return Figure(name, text, value, unit, tuple(asdict(one) for one in rounds))


def ratio_of(name: str, text: str, numerator: Figure, denominator: Figure) -> Figure:
    """How many times the one figure is the other."""
    return Figure(name, text, numerator.value / denominator.value, "ratio")
