"""What a file may ask for and this version does not do yet. Nobody should find that out from a missing copy of a saga.

What would change the meaning of a machine (hooks) is refused by `config`; what is here can be left out for the time
being, so the machine runs, and says so.
"""

from collections.abc import Iterator

from flowmachine.config.resource import FlowMachine
from flowmachine.core.check import Finding

_CODE = "not-supported-yet"


def find_unsupported(resource: FlowMachine) -> Iterator[Finding]:
    """A warning for everything that has no effect; paths begin below `spec`."""
    spec = resource.spec
    if spec.settings.throw_on_unexpected_events:
        message = "not supported yet: 'POST /event' answers once the event is safe, before it is applied"
        yield Finding("settings.throwOnUnexpectedEvents", _CODE, message)
