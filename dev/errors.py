"""Exceptions of the contributors' tools; the text of each is one sentence that says what is wrong and what to do.

DevError
├── ToolMissingError    a program that must be installed is not, or is too old
├── ProvisionError      something could not be fetched, built or installed
├── SettingsError       the wish itself makes no sense (two brokers, a port out of range)
├── PortTakenError      somebody else listens where a server shall listen
├── ClusterStateError   the data folder holds something else than asked for
├── ProgramFailedError  a program of ours ended, or did not become ready in time
└── KubectlError        kubectl refused what was asked, or the API server did
"""


class DevError(Exception):
    """Base of all errors that are shown to a contributor without a traceback."""


class ToolMissingError(DevError):
    """A program that must be installed is missing or too old."""


class ProvisionError(DevError):
    """Something could not be fetched, built or installed."""


class SettingsError(DevError):
    """The settings contradict each other or are out of range."""


class PortTakenError(DevError):
    """A port that a server needs is in use."""


class ClusterStateError(DevError):
    """The data folder belongs to another cluster, or to none."""


class ProgramFailedError(DevError):
    """A program of ours ended, or is not ready in time."""


class KubectlError(DevError):
    """A kubectl command failed; the text is what it wrote to standard error."""
