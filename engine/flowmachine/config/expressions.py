"""Payload expressions (CEL): checked once, compiled once, evaluated over a saga; they reach nothing and always end.

Rules: the variables are `saga` (the fields that hooks see) and `messageLabel`; the functions are CEL's own, none of
which reads a clock; the value is a map whose values are JSON. Numbers are JSON's: `12` is an int and `12.5` a double,
and CEL does not mix them (`double(saga.metadata.total) * 1.2`). Whole numbers beyond 64 bits become doubles.
"""

import math
import re
from typing import Any, Final

import msgspec

from flowmachine.config.documents import as_object, is_array, is_object
from flowmachine.core.definition import HookError, Payload, PayloadBuilder, SagaId
from flowmachine.core.saga import Saga, view_saga

_VARIABLES: Final = frozenset({"saga", "messageLabel"})
_FUNCTIONS: Final = frozenset(
    {
        "bytes",
        "contains",
        "double",
        "duration",
        "dyn",
        "endsWith",
        "getDate",
        "getDayOfMonth",
        "getDayOfWeek",
        "getDayOfYear",
        "getFullYear",
        "getHours",
        "getMilliseconds",
        "getMinutes",
        "getMonth",
        "getSeconds",
        "int",
        "matches",
        "size",
        "startsWith",
        "string",
        "timestamp",
        "type",
        "uint",
    }
)
_BOUND: Final = re.compile(r"\.(?:all|exists|exists_one|existsOne|filter|map)\s*\(\s*(\w+)")
"""Variables of macros; the library counts them among those that an expression names."""
_PLACE: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_LENGTH_MAX: Final = 300


def check_expression(text: str) -> str | None:
    """What is wrong with an expression, in one sentence, or None."""
    try:
        program = _compile(text)
    except ValueError as error:
        return f"is no CEL expression: {_first_line(error)}"
    called = {name for name in program.functions() if name[0].isalpha()}  # operators are functions, too: `_+_`
    unknown = sorted(called - _FUNCTIONS)
    if unknown:
        return f"calls {unknown[0]!r}, which is no function of CEL"
    strange = sorted(set(program.variables()) - _VARIABLES - set(_BOUND.findall(text)))
    return f"names {strange[0]!r}; the variables are 'saga' and 'messageLabel'" if strange else None


def build_expression(text: str, label: str) -> PayloadBuilder:
    """The builder of the payload of the command `label`. The expression has been checked."""
    execute = _compile(text).execute

    def build(saga_id: SagaId, saga: Saga) -> Payload:
        view = msgspec.json.decode(msgspec.json.encode(view_saga(saga_id, saga)))
        try:
            value = execute({"saga": view, "messageLabel": label})
        except Exception as error:  # noqa: BLE001 - the library has an exception for each thing that data can lack
            what = "there is no field " if isinstance(error, KeyError) else ""
            raise HookError(f"the payload expression failed: {what}{_first_line(error)}") from None
        if not is_object(value):
            raise HookError("the payload expression gives no map")
        return as_object(_as_json(value))

    return build


def _compile(text: str) -> Any:
    import cel  # takes a third of a second, because it brings a command line; few machines need it

    return cel.compile(text)


def _as_json(value: object) -> object:
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if is_array(value):
        return [_as_json(item) for item in value]
    if is_object(value):
        return {_as_key(key): _as_json(item) for key, item in value.items()}
    raise HookError(f"the payload expression gives a {type(value).__name__}, which JSON does not have")


def _as_key(key: object) -> str:
    if isinstance(key, str):
        return key
    raise HookError("the payload expression gives a map with keys that are no texts")


def _first_line(error: Exception) -> str:
    text = str(error).strip().partition("\n")[0]
    at = _PLACE.search(text)
    return (f"line {at[1]}, column {at[2]}: {at[3]}" if at else text)[:_LENGTH_MAX]
