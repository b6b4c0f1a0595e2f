"""Exceptions of the image tools; the text of each is one sentence a contributor can act on.

ImageError
├── ToolMissingError  a program is not installed, and we may not install it
└── BuildError        a step of a build failed
"""


class ImageError(Exception):
    """Base of all errors that are shown to a contributor without a traceback."""


class ToolMissingError(ImageError):
    """A program that must be installed is missing."""


class BuildError(ImageError):
    """A step of a build failed; the text ends with what it wrote."""
