"""Decoded frames to upright RGB pixels of the asked size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


def turn_of(frame: VideoFrame) -> tuple[int, bool]:
    """Quarter turns counterclockwise and whether to mirror left to right first, from the display matrix of a frame.

    The matrix maps a stored point (x, y) to the shown one (a x + c y, b x + d y), y pointing down. Angles that are no
    multiple of 90 degrees go to the nearest one, as players do.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 0, False
    a, b, _, c, d = np.frombuffer(memoryview(data), np.int32)[:5].astype(float)
    mirrored = a * d - b * c < 0
    if mirrored:
        a, b = -a, -b
    return round(np.degrees(np.arctan2(-b, a)) / 90) % 4, bool(mirrored)


class Painter:
    """Writes frames as (3, H, W) RGB, resized inside the colour conversion and turned as the file says.

    swscale averages areas when it shrinks and interpolates linearly when it grows; colour matrix and range are those
    the frame names, limited-range BT.601 where it names none (FFmpeg's rule). Transparency is dropped, light of high
    dynamic range is not mapped down. One thread: the decoder has the others. Planar output spares a transposition, and
    swscale keeps the colours at full resolution for it, which for packed RGB it does not.

    Args:
        size: (H, W) of the upright picture.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        from av.video.reformatter import VideoReformatter

        self._size = size
        self._angle: int | None = None
        self._turn = (0, False)
        self._reformatter = VideoReformatter()

    def paint(self, frame: VideoFrame, out: np.ndarray) -> None:
        """Fills ``out`` (3, H, W) uint8 with a frame."""
        if frame.rotation != self._angle:  # side data make a cycle with their frame, which then stays in memory
            self._angle, self._turn = frame.rotation, turn_of(frame)
        turns, mirrored = self._turn
        height, width = self._size if turns % 2 == 0 else self._size[::-1]
        shrinks = width < frame.width and height < frame.height
        rgb = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format="gbrp",
            interpolation="AREA" if shrinks else "BILINEAR",
            dst_color_range="JPEG",
            threads=1,
        )
        for channel, plane in zip((1, 2, 0), rgb.planes, strict=True):
            pixels = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[:height, :width]
            out[channel] = np.rot90(pixels[:, ::-1] if mirrored else pixels, turns)
