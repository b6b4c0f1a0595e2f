"""A context manager around something that is started and closed."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Started(ABC):
    """Started when its block begins, and closed however it ends; closed, too, when it does not start."""

    @abstractmethod
    def start(self) -> None:
        """Start it, and return when it can be used."""

    @abstractmethod
    def close(self) -> None:
        """End it, however far it has come."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
