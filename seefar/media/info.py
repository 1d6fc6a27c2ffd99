"""What is known of a source before its frames are read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VideoInfo:
    """What a source says about itself.

    Args:
        path: where it lies, None for a pipe or a file object.
        duration: seconds until the last frame stops being shown; None for a pipe.
        width: of the upright picture, in stored pixels (pixels that are not square are not stretched).
        height: of the upright picture.
        rate: frames a second on average.
        frames: how many; None for a pipe.
        codec: FFmpeg's name of it, "image" for stills.
        rotation: degrees clockwise by which the stored picture is turned for showing: 0, 90, 180 or 270.
        variable_rate: whether the gaps between frames differ.
        approximate_times: whether the stream holds no time stamps, so that times come from a frame rate.
        start: the second on the file's own clock that is our second 0.
    """

    path: str | None
    duration: float | None
    width: int
    height: int
    rate: float
    frames: int | None
    codec: str
    rotation: int = 0
    variable_rate: bool = False
    approximate_times: bool = False
    start: float = 0.0
