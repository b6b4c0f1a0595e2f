"""Files that the engine reads at run time."""

from flowmachine.adapters.files.secrets import read_secret

__all__ = ["read_secret"]
