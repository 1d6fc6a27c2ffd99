"""Moving and still pictures in, frames that know their second out. Importing this room does not import FFmpeg."""

from seefar.media.errors import MediaError
from seefar.media.report import Report
from seefar.media.sample import Fps, Keyframes, Sampling, Times, Uniform
from seefar.media.video import Video, VideoInfo, open
from seefar.media.write import write_video

__all__ = [
    "Fps",
    "Keyframes",
    "MediaError",
    "Report",
    "Sampling",
    "Times",
    "Uniform",
    "Video",
    "VideoInfo",
    "open",
    "write_video",
]
