"""Flow Manager's hooks, run in QuickJS inside this process (extra `javascript`). Fulfils `config.hooks.HookCompiler`.

| module     | holds                                                                                     |
|------------|-------------------------------------------------------------------------------------------|
| `compiler` | hooks as the core wants them: sagas in, payloads out                                        |
| `sandbox`  | one hook in a context of its own, within bounds of memory and time; `sandbox.js` is its inside |
"""

from flowmachine.adapters.javascript.compiler import JavaScriptHooks

__all__ = ["JavaScriptHooks"]
