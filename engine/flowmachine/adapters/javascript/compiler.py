"""Hooks as the core wants them: a saga in, a payload out; two values in, the merged one out."""

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from flowmachine.adapters.javascript.sandbox import Sandbox
from flowmachine.core.definition import Customizer, HookError, Payload, PayloadBuilder, SagaId
from flowmachine.core.merge import UNDEFINED
from flowmachine.core.saga import Saga, SagaView, view_saga
from flowmachine.core.timestamps import parse_timestamp
from flowmachine.wire.message import MalformedError, decode_json

T = TypeVar("T")


class _PayloadInput(msgspec.Struct, gc=False, rename="camel"):
    saga: SagaView
    message_label: str


_encode = msgspec.json.Encoder().encode
_decode_payload = msgspec.json.Decoder(dict[str, Any]).decode
_decode_value = msgspec.json.Decoder().decode


class JavaScriptHooks:
    """Compiles hooks; each gets a context of its own."""

    def build_payload(self, source: str, label: str) -> PayloadBuilder:
        """A command's hook. Raises HookError."""
        sandbox = Sandbox(source, "payload")

        def build(saga_id: SagaId, saga: Saga) -> Payload:
            text = _encode(_PayloadInput(view_saga(saga_id, saga), label)).decode()
            answer = sandbox.call(text, parse_timestamp(saga.updated_at), _seed(saga_id, saga.seq, label))
            return _decode(_decode_payload, answer)

        return build

    def build_customizer(self, source: str) -> Callable[[SagaId, int], Customizer]:
        """The hook of `deepMergeMetadata`. Raises HookError."""
        sandbox = Sandbox(source, "customizer")

        def bind(saga_id: SagaId, at_ms: int) -> Customizer:
            seed = _seed(saga_id, at_ms, "")

            def customize(old: Any, new: Any) -> Any:
                pair = {"value": new} if old is UNDEFINED else {"before": old, "value": new}
                answer = sandbox.call(_encode(pair).decode(), at_ms, seed)
                return UNDEFINED if answer is None else _decode(_decode_value, answer)

            return customize

        return bind


def _seed(*parts: object) -> int:
    return zlib.crc32("\n".join(map(str, parts)).encode())


def _decode(decode: Callable[[bytes], T], answer: str | None) -> T:
    try:
        return decode_json(decode, (answer or "").encode())
    except MalformedError as error:  # nested too deep, or half a character
        raise HookError(f"the hook failed: its result is {error}") from None
