"""What can go wrong with a measurement. Being slow is not among it."""


class RoundFailedError(RuntimeError):
    """A round gave no figure; the text says why, for the person who started the benchmark."""
