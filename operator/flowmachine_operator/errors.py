"""The operator's own exceptions, below those of `flowmachine.errors`.

FlowMachineError
├── TransientError
│   └── ApiUnavailableError   the API server is away, busy, or somebody else was faster: look again
├── ApiRefusedError           the API server does not take it: invalid, forbidden, over a quota
└── NotLeaderError            the Lease is lost: write nothing, end
"""

from flowmachine.errors import FlowMachineError, TransientError


class ApiUnavailableError(TransientError):
    """The API server could not answer now."""

    code = "api-unavailable"


class ApiRefusedError(FlowMachineError):
    """The API server refused a request; its own words are the message."""

    code = "api-refused"

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class NotLeaderError(FlowMachineError):
    """Another operator may act now."""

    code = "not-leader"
