"""What the operator has seen of one machine: the input of the conditions. `gather` fills it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from flowmachine.errors import Problem
from flowmachine_operator.plan.replicas import ReplicaPlan


class KafkaAnswer(Enum):
    """How Kafka answered when it was asked with the machine's own credentials."""

    NOT_ASKED = "NotAsked"
    """The machine is not valid, a Secret is missing, or it has not been its turn yet."""
    REACHABLE = "Reachable"
    UNREACHABLE = "Unreachable"
    """No answer: may go away by itself."""
    REFUSED = "Refused"
    """It answered, and does not let us in: credentials, certificates, rights."""


@dataclass(frozen=True, slots=True)
class KafkaFacts:
    """What Kafka said."""

    answer: KafkaAnswer = KafkaAnswer.NOT_ASKED
    message: str = ""
    """Why not, in a sentence without any secret."""
    missing_topics: tuple[str, ...] = ()
    input_partitions: Mapping[str, int] = field(default_factory=dict[str, int])
    home_partitions: int | None = None
    """Partitions of the machine's own topics; None when they do not exist yet, or nobody could be asked."""

    @property
    def partitions(self) -> int | None:
        """The highest partition count among the input topics, by which engines are counted; None: not known."""
        return max(self.input_partitions.values(), default=self.home_partitions)


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the engines say of the store into which they copy sagas."""

    kind: str = ""
    """As `persistence.type`; empty while no engine has told."""
    code: str = ""
    """Of what is wrong, as in the engine's metrics; empty while all is well."""
    problem: str = ""
    """What is wrong, in a sentence without any secret."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What was found outside of the machine's own objects: in Secrets, in Kafka, at the engines."""

    secret_versions: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of each Secret that the machine names and that exists: changes when it changes."""
    missing_secrets: tuple[str, ...] = ()
    """`{name}` or `{name}/{key}`."""
    kafka: KafkaFacts = KafkaFacts()
    sagas: Mapping[str, int] | None = None
    """How many sagas are in each state, as the engines say; None: not all of them could be asked."""
    store: StoreFacts = StoreFacts()


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the Deployment says. All zero when there is none."""

    ready: int = 0
    updated: int = 0
    """Engines of the wanted revision, ready or not."""
    total: int = 0
    failure: str = ""
    """What the Deployment says about why it does not get on: a refused pod, a quota, its deadline."""


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the conditions follow from."""

    generation: int
    replicas: ReplicaPlan
    problems: tuple[Problem, ...] = ()
    """What is wrong in the FlowMachine, as `flowmachine check` says it; empty for a valid one."""
    missing_secrets: tuple[str, ...] = ()
    """`{name}` or `{name}/{key}` of what the machine refers to and does not exist."""
    kafka: KafkaFacts = KafkaFacts()
    engines: EngineFacts = EngineFacts()
    refusals: tuple[str, ...] = ()
    """Children that could not be written, and why."""
    store: StoreFacts = StoreFacts()
    held_sagas: int = 0
    """Sagas in states that the machine no longer has."""
    deletion: str = ""
    """What a deletion waits for."""
