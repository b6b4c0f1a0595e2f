"""Secrets that change while the engine runs."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from flowmachine.adapters.files import watch
from flowmachine.errors import ConfigurationError, TransientError
from tests.support.eventually import eventually


class Secret:
    """A value that a test changes; a value that is an exception is raised."""

    def __init__(self) -> None:
        self.value: str | Exception = "old"
        self.applied: list[str] = []
        self.refusal: Exception | None = None
        self.reads = 0

    def read(self) -> str:
        self.reads += 1
        if isinstance(self.value, Exception):
            raise self.value
        return self.value

    async def apply(self, value: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        self.applied.append(value)

    async def after_reads(self, count: int) -> None:
        wanted = self.reads + count
        await eventually(lambda: self.reads >= wanted, "it is read again")


@asynccontextmanager
async def watched(secret: Secret) -> AsyncGenerator[None]:
    run = asyncio.create_task(watch("a test", secret.read, "old", secret.apply, seconds=0.01))
    try:
        yield
    finally:
        run.cancel()
        await asyncio.gather(run, return_exceptions=True)


async def test_changed_secret_is_applied_once() -> None:
    secret = Secret()
    async with watched(secret):
        await secret.after_reads(2)
        assert secret.applied == []
        secret.value = "new"
        await secret.after_reads(3)
    assert secret.applied == ["new"]


@pytest.mark.parametrize("name", ["value", "refusal"])
@pytest.mark.parametrize("error", [ConfigurationError.of("", "code", "it is empty"), TransientError("it is empty")])
async def test_what_cannot_be_used_is_said_once_and_tried_again(
    name: str, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    secret = Secret()
    with caplog.at_level(logging.INFO):
        async with watched(secret):
            secret.value = "new"
            setattr(secret, name, error)
            await secret.after_reads(3)
            assert secret.applied == []
            secret.value, secret.refusal = "newer", None
            await eventually(lambda: secret.applied[-1:] == ["newer"], "it is applied")
            await secret.after_reads(1)
    said = [record.message for record in caplog.records if record.name.endswith("watch")]
    assert said.count("changed secrets cannot be used yet") == 1
    assert said[-1] == "changed secrets are in use"
