"""What happened in a simulation, line by line: two runs of one seed write the same lines."""

from collections.abc import Callable


class History:
    """Lines with their time; printed when a seed fails."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.lines: list[tuple[float, str, str]] = []
        self.is_closed = False

    def note(self, who: str, text: str) -> None:
        """Add a line."""
        if not self.is_closed:
            self.lines.append((self._now(), who, text))

    def render(self, last: int = 400) -> str:
        """The last lines, for people."""
        left_out = len(self.lines) - last
        head = [f"... {left_out} earlier lines left out"] if left_out > 0 else []
        return "\n".join([*head, *(f"{at:9.3f}  {who:<12}  {text}" for at, who, text in self.lines[-last:])])
