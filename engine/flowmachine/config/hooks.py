"""Hooks as written -> callables. What compiles JavaScript is given from outside: this package runs nothing."""

import base64
import binascii
from collections.abc import Callable
from typing import Protocol

from flowmachine.config.machine_model import Hook
from flowmachine.core.definition import Customizer, HookError, Payload, PayloadBuilder, SagaId
from flowmachine.core.saga import Saga


class HookCompiler(Protocol):
    """Compiles JavaScript; `flowmachine.adapters.javascript` is one."""

    def build_payload(self, source: str, label: str) -> PayloadBuilder:
        """The payload of the command `label`. Raises HookError if the source cannot be used."""
        ...

    def build_customizer(self, source: str) -> Callable[[SagaId, int], Customizer]:
        """The customizer of `deepMergeMetadata`. Raises HookError if the source cannot be used."""
        ...


class UnrunHooks:
    """For a machine that is looked at, not run: drawn, checked, admitted. Its sources are not even compiled."""

    def build_payload(self, source: str, label: str) -> PayloadBuilder:
        """A builder that fails."""

        def fail(saga_id: SagaId, saga: Saga) -> Payload:
            raise HookError(
                f"this machine is not made to run: the hook of {label!r} for {saga_id!r} in {saga.current_state!r}"
            )

        return fail

    def build_customizer(self, source: str) -> Callable[[SagaId, int], Customizer]:
        """A customizer that fails."""

        def fail(saga_id: SagaId, at_ms: int) -> Customizer:
            raise HookError(f"this machine is not made to run: deepMergeMetadata's hook for {saga_id!r} at {at_ms}")

        return fail


def decode_hook(hook: Hook) -> str:
    """The source. The content has been checked."""
    if hook.encoding == "plain":
        return hook.content
    return base64.b64decode(hook.content, validate=False).decode()


def check_encoding(content: object, encoding: object) -> str | None:
    """What is wrong with the content of a hook, or None."""
    if not isinstance(content, str):
        return None  # the models say that
    text = content
    if encoding == "base64":
        try:
            text = base64.b64decode("".join(content.split()), validate=True).decode()
        except (binascii.Error, ValueError):
            return "is not base64 of a text in UTF-8"
    return None if text.strip() else "holds no JavaScript"
