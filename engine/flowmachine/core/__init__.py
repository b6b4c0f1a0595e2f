"""The core decides and does no I/O: same arguments, same answer (design rule 3; enforced by the import rule)."""
