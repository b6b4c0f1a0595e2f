"""HTTP as a client: commands to services, and reads from other engines."""

from flowmachine.adapters.rest.peer import HttpPeerReader
from flowmachine.adapters.rest.sender import RestEndpoint, RestSender
from flowmachine.adapters.rest.session import HostSlots, open_session

__all__ = ["HostSlots", "HttpPeerReader", "RestEndpoint", "RestSender", "open_session"]
