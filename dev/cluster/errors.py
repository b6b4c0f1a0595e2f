"""Exceptions of the development cluster; the text of each is one sentence a contributor can act on.

ClusterError
├── ToolMissingError      Go (for the first build) or openssl is not installed, or too old
├── BuildError            Go could not build the programs
├── ClusterStateError     the data folder holds something else than asked for
├── ComponentFailedError  a program of the cluster ended, or did not become ready in time
└── KubectlError          kubectl refused what was asked, or the API server did
"""


class ClusterError(Exception):
    """Base of all errors that are shown to a contributor without a traceback."""


class ToolMissingError(ClusterError):
    """A program that must be installed is missing."""


class BuildError(ClusterError):
    """The programs of Kubernetes could not be built."""


class ClusterStateError(ClusterError):
    """The data folder belongs to another cluster, or to none."""


class ComponentFailedError(ClusterError):
    """A program of the cluster ended or is not ready in time."""


class KubectlError(ClusterError):
    """A kubectl command failed; the text is what it wrote to standard error."""
