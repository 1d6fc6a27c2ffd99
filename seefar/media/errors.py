"""The one error that a file can cause."""


class MediaError(ValueError):
    """A file that cannot be read as pictures; the text says why and what to type instead."""
