"""Bytes to values and back. Everything others may read or write is here, and versioned."""
