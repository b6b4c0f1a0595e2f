"""Where commands write to: the standard output, the standard error output, files."""

from pathlib import Path

from rich.console import Console

from flowmachine.errors import ConfigurationError


class PlainConsole(Console):
    """A console that prints texts as they are, and leaves it to `main` what happens when nobody reads them."""

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width)

    def on_broken_pipe(self) -> None:
        """Raise the error; rich would end the process with a code that means something else here."""
        raise BrokenPipeError


def error_console() -> Console:
    """The standard error output."""
    return PlainConsole(stderr=True, soft_wrap=True)


def output_console() -> Console:
    """The standard output."""
    return PlainConsole(soft_wrap=True)


def write_output(path: str, text: str) -> None:
    """The text is in the file. Raises ConfigurationError."""
    if not path:
        raise ConfigurationError.of("-o", "file-not-writable", "names no file: is a variable empty?")
    try:
        Path(path).write_text(text, "utf-8")
    except OSError as error:
        detail = error.strerror or str(error)
        raise ConfigurationError.of(path, "file-not-writable", f"cannot be written: {detail}") from error
