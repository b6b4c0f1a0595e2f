"""One hook: a JavaScript module in a context of its own, compiled once, called within bounds.

The context has the language and nothing else: no file, no network, no timer, no `require`, no module to import. Its
clock and its chance are the input's (`sandbox.js`), so the same call gives the same answer wherever it is replayed.
What a call gets is frozen, and is a copy.

1. Memory and stack are bounded for the context, time for each call. What breaks a bound ends that call; the context is
   then made anew, so nothing of the broken call is left.
2. A hook that runs out of time again and again is not called any more: each time costs the whole engine the full bound.
3. What a hook leaves to be done later (`Promise.then`) is done at the end of its call, up to a number of steps.

What stays a hook's own business: variables outside of its function live as long as the context, and local time (not
UTC) is the process's. Hooks should use neither.
"""

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final

from flowmachine.core.definition import HookError

MEMORY_BYTES_MAX: Final = 32 * 1024 * 1024
"""A hundred times what a hook over a saga of the largest size takes."""
STACK_BYTES_MAX: Final = 256 * 1024
"""QuickJS's own default: some thousand calls deep."""
CALL_SECONDS_MAX: Final = 0.25
"""CPU time of one call. A hook takes some ten microseconds; meanwhile the engine waits, and heartbeats must not."""
TIMEOUTS_MAX: Final = 3
CALM_CALLS: Final = 1000
"""Timeouts count until so many calls have gone well."""
JOBS_MAX: Final = 1000
REASON_LENGTH_MAX: Final = 300

_SANDBOX: Final = files("flowmachine.adapters.javascript").joinpath("sandbox.js").read_text("utf-8")
# A module that is loaded already is found by the name that the wrapper gives to all sources.
_IMPORT: Final = (
    "import('<input>').then((module) => { globalThis.__hook = module.default },"
    " (error) => { globalThis.__error = error }); 0"
)
_LINE: Final = re.compile(r"<input>:(\d+)")

Call = Callable[[str, float, float], str | None]


class Sandbox:
    """A hook of one kind (`payload` or `customizer`)."""

    def __init__(self, source: str, kind: str) -> None:
        """Compile the hook. Raises HookError, also when the extra is not installed."""
        self._source = source
        self._kind = kind
        self._timeouts = 0
        self._calm = 0
        self._context: Any = None
        self._call: Call = self._load()

    def call(self, text: str, at_ms: int, seed: int) -> str | None:
        """The JSON text of the hook's answer to the JSON text `text`, None for `undefined`. Raises HookError."""
        if self._timeouts >= TIMEOUTS_MAX:
            raise HookError(
                f"the hook ran out of time {TIMEOUTS_MAX} times; it is not called again before the engine starts anew"
            )
        try:
            if self._context is None:
                self._call = self._load()
            answer = self._call(text, float(at_ms), float(seed))
            self._run_jobs()
        except HookError:
            self._context = None
            raise
        except Exception as error:  # noqa: BLE001 - the wrapper raises whatever it likes for what a script does
            raise self._failure(error) from None
        if self._timeouts:
            self._calm += 1
            if self._calm >= CALM_CALLS:
                self._timeouts = 0
        if answer is not None and answer.startswith("!"):
            raise HookError(f"the hook failed: {answer[1:]}")
        return answer

    def _load(self) -> Call:
        try:
            import quickjs  # only where a machine has hooks: it is an extra
        except ImportError:
            raise HookError(
                "JavaScript hooks need the extra 'javascript': pip install 'flowmachine-operator[javascript]'"
            ) from None
        context = quickjs.Context()
        context.set_memory_limit(MEMORY_BYTES_MAX)
        context.set_max_stack_size(STACK_BYTES_MAX)
        bind = context.eval(_SANDBOX)
        context.set_time_limit(CALL_SECONDS_MAX)
        self._context = context
        try:
            context.module(self._source)
            context.eval(_IMPORT)
            self._run_jobs()
            if context.eval("'__error' in globalThis"):
                context.eval("throw globalThis.__error")
            call: Call | None = bind(self._kind)
        except HookError:
            raise
        except Exception as error:  # noqa: BLE001 - as in `call`
            raise self._failure(error) from None
        if call is None:
            raise HookError("the hook's source has no function as its default export (export default ({saga}) => ...)")
        return call

    def _run_jobs(self) -> None:
        for _ in range(JOBS_MAX):
            if not self._context.execute_pending_job():
                return
        raise HookError("the hook failed: it leaves work to be done that does not end")

    def _failure(self, error: Exception) -> HookError:
        """What is told about it; whatever broke a bound may have left the context in any state."""
        message, _, trace = str(error).partition("\n")
        self._context = None
        if message.startswith("InternalError: interrupted"):
            self._timeouts += 1
            self._calm = 0
            return HookError(f"the hook ran longer than {CALL_SECONDS_MAX * 1000:.0f} ms")
        if "out of memory" in message:
            return HookError(f"the hook needed more than {MEMORY_BYTES_MAX // 1024 // 1024} MB of memory")
        line = _LINE.search(trace)
        where = f" (line {line[1]})" if line else ""
        return HookError(f"the hook failed: {message[:REASON_LENGTH_MAX]}{where}")
