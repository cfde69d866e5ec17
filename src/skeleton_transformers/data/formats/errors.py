"""The error of a recording that cannot be used."""

from __future__ import annotations


class RecordingError(ValueError):
    """A file that is no usable recording. The message names the file, the place, the bad value and what would be right.

    The preparation of a corpus reports such a file and goes on with the next.
    """


__all__ = ["RecordingError"]
