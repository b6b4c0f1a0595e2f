"""The engine in a child process: `flowmachine run`, as anybody would start it."""

import asyncio
import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Final

import aiohttp
import msgspec

from flowmachine.errors import TransientError

START_SECONDS_MAX: Final = 30.0
"""A busy computer needs some seconds to start Python; more than this is a fault."""
STOP_SECONDS_MAX: Final = 10.0
POLL_SECONDS: Final = 0.05
_LOG_LINES_SHOWN: Final = 6
# The demo is the same whatever the shell's environment says.
_FOREIGN_VARIABLES: Final = frozenset(
    {"CONFIGURATIONS_FILE_PATH", "HTTP_HOST", "HTTP_PORT", "LOG_LEVEL", "SAGA_ID_PREFIX"}
)


class _StartLine(msgspec.Struct):
    url: str
    log: str
    pid: int


class EngineProcess:
    """One engine at a time on one data folder; it can be killed and started again."""

    def __init__(self, machine_file: Path, folder: Path) -> None:
        self._machine_file = machine_file
        self._folder = folder
        self._log_file = folder / "engine.log"
        self._process: asyncio.subprocess.Process | None = None
        self._is_ending = False
        self.url = ""
        self.pid = 0
        self.is_ready = False

    async def start(self) -> float:
        """An engine is ready; returns how many seconds that took. Raises TransientError with what it said if not."""
        begin = time.monotonic()
        process = await self._spawn()
        self._process, self._is_ending = process, False
        try:
            async with asyncio.timeout(START_SECONDS_MAX):
                assert process.stdout is not None
                self._read_start_line(await process.stdout.readline())
                await self._wait_ready()
        except TimeoutError:
            raise TransientError(
                f"the engine was not ready after {START_SECONDS_MAX:.0f} s{self._last_words()}"
            ) from None
        self.is_ready = True
        return time.monotonic() - begin

    async def watch(self) -> None:
        """Until cancelled. Raises TransientError when the engine ends by itself."""
        while True:
            process = self._process
            if process is not None:
                code = await process.wait()
                if process is self._process and not self._is_ending:
                    raise TransientError(f"the engine has ended with code {code}{self._last_words()}")
            await asyncio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        """End it without warning, as a power cut would."""
        self._is_ending = True
        self.is_ready = False
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def stop(self) -> None:
        """Ask it to stop, and wait until it has. Raises TransientError if it does not do so in order."""
        process, self._is_ending, self.is_ready = self._process, True, False
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS_MAX):
                code = await process.wait()
        except TimeoutError:
            await self.kill()
            raise TransientError(
                f"the engine did not stop within {STOP_SECONDS_MAX:.0f} s{self._last_words()}"
            ) from None
        if code != 0:
            raise TransientError(f"the engine has ended with code {code}{self._last_words()}")

    async def _spawn(self) -> asyncio.subprocess.Process:
        arguments = ["run", "-f", str(self._machine_file), "--embedded", "--data-dir", str(self._folder)]
        options = ["--http", "127.0.0.1:0", "--log-format", "json"]
        environment = {name: value for name, value in os.environ.items() if name not in _FOREIGN_VARIABLES}
        with contextlib.closing(os.fdopen(_open_for_append(self._log_file), "ab")) as log:
            return await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "flowmachine",
                *arguments,
                *options,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C is for us: we then end it in order
            )

    def _read_start_line(self, line: bytes) -> None:
        try:
            started = msgspec.json.decode(line, type=_StartLine)
        except msgspec.MsgspecError:
            raise TransientError(f"the engine did not start{self._last_words()}") from None
        self.url, self.pid = started.url, started.pid

    async def _wait_ready(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.get(f"{self.url}/-/ready") as answer:
                        if answer.ok:
                            return
                if self._process is not None and self._process.returncode is not None:
                    raise TransientError(f"the engine did not start{self._last_words()}")
                await asyncio.sleep(POLL_SECONDS)

    def _last_words(self) -> str:
        try:
            lines = self._log_file.read_text("utf-8", "replace").splitlines()[-_LOG_LINES_SHOWN:]
        except OSError:
            lines = []
        return "".join([". It said:" if lines else "", *(f"\n  {line}" for line in lines)])


def _open_for_append(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
