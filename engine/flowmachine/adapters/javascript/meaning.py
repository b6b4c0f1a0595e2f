"""A saga.json as Flow Manager understands it (`flow_manager.js`), independent of the engine's core and models.

Hooks run here without any of the engine's rules: with the saga itself, the real clock and real chance. Where that
makes a difference, the comparison shows it.
"""

import base64
import json
from importlib.resources import files
from typing import Any, Final

import jsonschema_rs

from flowmachine.core.definition import HookError

_MEANING: Final = files("flowmachine.adapters.javascript").joinpath("flow_manager.js").read_text("utf-8")
_CALL_SECONDS_MAX: Final = 5.0


_CALL: Final = """
globalThis.console = { debug() {}, error() {}, info() {}, log() {}, warn() {} };
globalThis.__call = (text) => {
  const { saga, messageLabel, pair } = JSON.parse(text);
  if (typeof globalThis.__hook !== "function") throw new TypeError("no default export");
  if (pair) return JSON.stringify({ taken: globalThis.__hook(...pair.map((each) => each[0])) });
  const { payload } = globalThis.__hook({ saga, messageLabel });
  return JSON.stringify({ payload, metadata: saga.metadata });
};
"""


class FlowManagerMeaning:
    """Sagas under a configuration, which is a decoded saga.json that `load` has found no fault with."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        """Raises HookError for hooks that cannot be loaded, or without the extra `javascript`."""
        self._calls: list[Any] = []
        self._context = _new_context()
        places: dict[str, int] = {}
        for state in configuration["machineDefinition"]["states"]:
            self._load(state.get("outputCommand"), f"{state['id']}/main", places)
            for index, command in enumerate(state.get("sideEffects") or []):
                self._load(command, f"{state['id']}/{index}", places)
        settings: dict[str, Any] = configuration.get("settings") or {}
        self._load(settings.get("deepMergeMetadata"), "customizer", places)
        self._context.add_callable("callHook", self._call_hook)
        self._evaluate(f"globalThis.meaning = {_MEANING.rstrip().rstrip(';')}")
        self._evaluate(f"globalThis.sagas = meaning({json.dumps(configuration)}, {json.dumps(places)}, callHook)")

    def _call_hook(self, number: int, text: str) -> str:
        answer: str = self._calls[number](text)
        return answer

    def create(self, saga_id: str, creation: dict[str, Any]) -> None:
        """`POST /saga`, with the id that it has had."""
        self._evaluate(f"sagas.create({json.dumps(saga_id)}, JSON.parse({json.dumps(json.dumps(creation))}))")

    def report(self, saga_id: str, label: str, payload: Any) -> None:
        """An event; ignored as Flow Manager ignores it."""
        payload = {} if payload is None else payload
        found = self._ask(f"sagas.transition({json.dumps(saga_id)}, {json.dumps(label)})")
        if found is None or not isinstance(payload, dict):
            return
        schema = found.get("payloadValidationSchema")
        if schema is not None and not jsonschema_rs.Draft7Validator(schema).is_valid(payload):
            return
        arguments = f"{json.dumps(saga_id)}, {json.dumps(found)}, JSON.parse({json.dumps(json.dumps(payload))})"
        self._evaluate(f"sagas.apply({arguments})")

    def saga(self, saga_id: str) -> dict[str, Any] | None:
        """What has become of it: Flow Manager's stored fields, and `commands` in order."""
        found: dict[str, Any] | None = self._ask(f"sagas.saga({json.dumps(saga_id)})")
        return found

    def _load(self, holder: dict[str, Any] | None, place: str, places: dict[str, int]) -> None:
        hook = (holder or {}).get("hook")
        if hook is None:
            return
        content = hook["content"]
        context = _new_context()
        context.set_time_limit(_CALL_SECONDS_MAX)
        context.eval(_CALL)
        try:
            context.module(base64.b64decode(content).decode() if hook.get("encoding") == "base64" else content)
        except Exception as error:  # noqa: BLE001 - as in `_evaluate`
            raise HookError(f"the hook at {place} cannot be loaded: {str(error).splitlines()[0]}") from None
        context.eval("import('<input>').then((module) => { globalThis.__hook = module.default }, () => {}); 0")
        while context.execute_pending_job():
            pass
        places[place] = len(self._calls)
        self._calls.append(context.get("__call"))

    def _ask(self, expression: str) -> Any:
        text = self._evaluate(f"JSON.stringify({expression})")
        return None if text is None else json.loads(text)

    def _evaluate(self, source: str) -> Any:
        try:
            return self._context.eval(source)
        except Exception as error:  # noqa: BLE001 - the wrapper raises whatever it likes for what a script does
            raise HookError(f"Flow Manager's meaning could not be followed: {str(error).splitlines()[0]}") from None


def _new_context() -> Any:
    try:
        import quickjs
    except ImportError:
        raise HookError(
            "comparing needs the extra 'javascript': pip install 'flowmachine-operator[javascript]'"
        ) from None
    return quickjs.Context()
