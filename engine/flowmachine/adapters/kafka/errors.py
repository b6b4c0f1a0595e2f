"""aiokafka's exceptions as ours: who must act."""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager

from aiokafka import errors as kafka

from flowmachine.errors import ConfigurationError, FencedError, FlowMachineError, TransientError

_FENCED = (kafka.ProducerFenced, kafka.InvalidProducerEpoch)
_NOT_AUTHORISED: dict[type[kafka.KafkaError], str] = {
    kafka.TopicAuthorizationFailedError: "the user may not use topic {detail}; grant it Read, Write and Describe",
    kafka.GroupAuthorizationFailedError: "the user may not use consumer group {detail}; grant it Read",
    kafka.TransactionalIdAuthorizationFailed: (
        "the user may not use transactional id {detail}; grant it Write and Describe"
    ),
    kafka.ClusterAuthorizationFailedError: "the user may not do this on the cluster ({detail})",
    kafka.AuthenticationFailedError: "the brokers refused the credentials ({detail})",
    kafka.UnsupportedSaslMechanismError: "the brokers do not offer this SASL mechanism ({detail})",
    kafka.SaslAuthenticationFailed: "the brokers refused the credentials ({detail})",
}


def translate(error: Exception, doing: str) -> FlowMachineError:
    """Our exception for one of aiokafka's (or of the socket's) that came while `doing` something."""
    if isinstance(error, FlowMachineError):
        return error
    if isinstance(error, _FENCED):
        return FencedError(f"while {doing}: another producer took over this partition")
    for kind, text in _NOT_AUTHORISED.items():
        if isinstance(error, kind):
            detail = ", ".join(str(argument) for argument in error.args) or kind.__name__
            return ConfigurationError.of("kafka", "not-authorised", f"while {doing}: {text.format(detail=detail)}")
    detail = str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
    return TransientError(f"while {doing}: {detail}")


@contextmanager
def translated(doing: str) -> Generator[None]:
    """Raise whatever goes wrong inside as one of our exceptions.

    That includes a cancellation that nobody asked for: aiokafka lets those of its own tasks out, and one that went on
    would end a task of ours without a word.
    """
    try:
        yield
    except (kafka.KafkaError, OSError, TimeoutError) as error:
        raise translate(error, doing) from error
    except AssertionError as error:  # aiokafka's transaction state machine, after an error in its background task
        raise TransientError(f"while {doing}: the client is in a broken state ({error})") from error
    except asyncio.CancelledError as error:
        if is_asked_to_end():
            raise
        raise TransientError(f"while {doing}: the client gave up") from error


def is_asked_to_end() -> bool:
    """Whether someone has cancelled the running task; if not, a CancelledError in it is aiokafka's own."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
