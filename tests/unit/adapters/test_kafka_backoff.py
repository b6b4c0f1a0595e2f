"""A constant of aiokafka that the adapter sets: an aiokafka that no longer reads it must be noticed."""

import inspect

from aiokafka.producer import sender

import flowmachine.adapters.kafka.partition


def test_next_transaction_is_asked_for_every_few_milliseconds() -> None:
    assert flowmachine.adapters.kafka.partition.aiokafka_sender is sender
    assert sender.BACKOFF_OVERRIDE == 0.003
    assert "return BACKOFF_OVERRIDE" in inspect.getsource(sender)
