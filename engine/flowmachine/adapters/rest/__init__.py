"""HTTP as a client: commands to services, and reads from other engines."""

from flowmachine.adapters.rest.peer import HttpPeerReader
from flowmachine.adapters.rest.sender import RestEndpoint, RestSender
from flowmachine.adapters.rest.session import HostSlots, open_session
from flowmachine.adapters.rest.store import CrudCalls, HttpStore, RestCalls

__all__ = [
    "CrudCalls",
    "HostSlots",
    "HttpPeerReader",
    "HttpStore",
    "RestCalls",
    "RestEndpoint",
    "RestSender",
    "open_session",
]
