"""Files that the engine reads at run time."""

from flowmachine.adapters.files.secrets import read_secret
from flowmachine.adapters.files.tls import TlsTexts, build_tls_context, read_tls
from flowmachine.adapters.files.watch import watch

__all__ = ["TlsTexts", "build_tls_context", "read_secret", "read_tls", "watch"]
