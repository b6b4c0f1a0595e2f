"""The base of all configuration models, and the constrained texts and numbers that they share.

Rules of the models:
- a field says what it means in its `description`: the reference page and `kubectl explain` are made of these;
- limits are keywords of JSON Schema, so that the API server checks them too;
- no lax conversion: the number 5 is not a text, "5" is not a number;
- a field without a value (`null`) is a field that is not there, as for the Kubernetes API server.
"""

import re
from typing import Annotated, ClassVar, Final

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictInt,
    StrictStr,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from flowmachine.config.documents import is_object

ID_LENGTH_MAX: Final = 63
"""Bound of ids; with it, the CRD's rules over 200 states stay within the API server's cost budget."""

LABEL_LENGTH_MAX: Final = 255
DESCRIPTION_LENGTH_MAX: Final = 4096
EXPRESSION_LENGTH_MAX: Final = 4096
"""The library of payload expressions recurses in native code: 20,000 terms end the process; expressions of up to 8,000
characters, nested in a dozen ways, do not (tried)."""

INTEGER_MAX: Final = 2**53 - 1
"""The largest integer that JSON readers agree on (a JavaScript number is a double)."""

_PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
_PRINTABLE_OR_EMPTY: Final = r"^[^\x00-\x1f\x7f]*$"
_HOST: Final = r"^[^\s/]+$"
_TOPIC: Final = r"^[a-zA-Z0-9._-]+$"
_TOPIC_PREFIX: Final = r"^[a-zA-Z0-9._-]*$"
_DURATION: Final = r"^([0-9]{1,6}(ms|s|m|h|d))+$"
_MACHINE_NAME: Final = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_BROKER: Final = r"^[^\s,]+$"
_HEADER: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_URL_PATH: Final = r"^/[^\s?#]*(\?[^\s#]*)?$"
_ORIGIN: Final = r"^(\*|https?://[^\s/]+)$"
_DATA_KEY: Final = r"^[-._a-zA-Z0-9]+$"
TABLE_PATTERN: Final = r"^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$"

PATTERN_MESSAGES: Final = {
    _PRINTABLE: "must not hold control characters",
    _PRINTABLE_OR_EMPTY: "must not hold control characters",
    _HOST: "must be a host name or an address, without protocol and path",
    _TOPIC: "must consist of letters, digits, '.', '_' and '-'",
    _TOPIC_PREFIX: "must consist of letters, digits, '.', '_' and '-'",
    _DURATION: "must be a duration such as '30m', '1h' or '7d'",
    _MACHINE_NAME: "must consist of lower-case letters, digits and '-', and begin and end with a letter or a digit",
    _BROKER: "must be an address 'host:port'",
    _HEADER: "is not the name of a header",
    _URL_PATH: "must begin with '/' and hold no blanks and no '#'",
    _ORIGIN: "must be an origin such as 'https://console.example', without a path, or '*'",
    _DATA_KEY: "must consist of letters, digits, '.', '_' and '-'",
    TABLE_PATTERN: "must be the name of a table, 'table' or 'schema.table', in small letters, digits and '_'",
}
"""What each pattern asks for, in words."""

_MILLISECONDS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Model(BaseModel):
    """Base of the models: frozen, camel case outside, unknown fields refused."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
        allow_inf_nan=False,
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: object) -> object:
        if is_object(data):
            return {key: value for key, value in data.items() if value is not None}
        return data


def _check_business_id(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("business_id", "must be a whole number or a text")
    if isinstance(value, str) and not 0 < len(value) <= ID_LENGTH_MAX:
        raise PydanticCustomError("business_id", "must have 1 to {limit} characters", {"limit": ID_LENGTH_MAX})
    if isinstance(value, int) and abs(value) > INTEGER_MAX:
        raise PydanticCustomError("business_id", "must lie between -{limit} and {limit}", {"limit": INTEGER_MAX})
    return value


Id = Annotated[StrictStr, StringConstraints(min_length=1, max_length=ID_LENGTH_MAX, pattern=_PRINTABLE)]
Label = Annotated[StrictStr, StringConstraints(min_length=1, max_length=LABEL_LENGTH_MAX, pattern=_PRINTABLE)]
Expression = Annotated[StrictStr, StringConstraints(min_length=1, max_length=EXPRESSION_LENGTH_MAX)]
Description = Annotated[StrictStr, StringConstraints(max_length=DESCRIPTION_LENGTH_MAX)]
BusinessIdField = Annotated[StrictInt | StrictStr, BeforeValidator(_check_business_id)]
MachineName = Annotated[StrictStr, StringConstraints(min_length=1, max_length=ID_LENGTH_MAX, pattern=_MACHINE_NAME)]
SagaIdPrefix = Annotated[StrictStr, StringConstraints(max_length=ID_LENGTH_MAX, pattern=_PRINTABLE_OR_EMPTY)]
Host = Annotated[StrictStr, StringConstraints(min_length=1, max_length=253, pattern=_HOST)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
UrlPath = Annotated[StrictStr, StringConstraints(max_length=2048, pattern=_URL_PATH)]
HeaderName = Annotated[StrictStr, StringConstraints(max_length=256, pattern=_HEADER)]
BrokerAddress = Annotated[StrictStr, StringConstraints(min_length=1, max_length=300, pattern=_BROKER)]
TopicName = Annotated[StrictStr, StringConstraints(min_length=1, max_length=249, pattern=_TOPIC)]
TopicPrefix = Annotated[StrictStr, StringConstraints(max_length=100, pattern=_TOPIC_PREFIX)]
ObjectName = Annotated[StrictStr, StringConstraints(min_length=1, max_length=253)]
SecretKeyName = Annotated[StrictStr, StringConstraints(min_length=1, max_length=253, pattern=_DATA_KEY)]
Origin = Annotated[StrictStr, StringConstraints(min_length=1, max_length=300, pattern=_ORIGIN)]
FilePath = Annotated[StrictStr, StringConstraints(min_length=1, max_length=4096, pattern=_PRINTABLE)]
Duration = Annotated[StrictStr, StringConstraints(max_length=40, pattern=_DURATION)]


def parse_duration_ms(text: str) -> int:
    """The milliseconds in a `Duration`, e.g. "1h30m". The text fits its pattern."""
    return sum(int(number) * _MILLISECONDS[unit] for number, unit in re.findall(r"([0-9]+)(ms|s|m|h|d)", text))
