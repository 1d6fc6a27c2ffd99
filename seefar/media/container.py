"""Opening files with FFmpeg, and saying in plain words why one will not open."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from seefar.media.errors import MediaError

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

# A playlist may neither call hosts nor lead to other files, nor be waited for: FFmpeg reloads a live one for minutes.
ALONE = {"protocol_whitelist": "data", "max_reload": "0"}
PATIENCE = 16  # failing reads in a row after which the rest of a file counts as unreadable
TEXT = "this is a text file, not a video. Give a video, an image or a folder of images (not a playlist)."


class Forward:
    """The reading half of a pipe; without a seek method FFmpeg knows that there is no way back."""

    def __init__(self, file: BinaryIO) -> None:
        # read1 gives what has come; read would wait for a full buffer, which a live film may take long to fill.
        self.read = getattr(file, "read1", file.read)


def refuse_unreadable(path: Path) -> None:
    """Raises where the file cannot be pictures: missing, a special file, empty, text.

    Raises:
        MediaError: with what to do instead.
    """
    if not path.exists():
        near = sorted(other.name for other in path.parent.glob(f"{path.stem}.*"))[:3] if path.parent.is_dir() else []
        hint = f"Did you mean {', '.join(near)}?" if near else "Check the spelling and the folder."
        raise MediaError(f"{path}: there is no such file. {hint}")
    if path.is_file() and not path.stat().st_size:
        raise MediaError(f"{path.name}: the file is empty (0 bytes). Copy or download it again.")
    if not path.is_file():
        return  # looking into a pipe would take the bytes out of it
    try:
        with path.open("rb") as file:
            head = file.read(4096)
    except PermissionError:
        raise MediaError(f"{path.name}: no permission to read it. Try: chmod u+r '{path}'") from None
    if looks_like_text(head):
        raise MediaError(f"{path.name}: {TEXT}")


def looks_like_text(head: bytes) -> bool:
    """Whether the first bytes of a file are text, playlists included."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < len(head) - 4:  # not merely a letter cut in two
            return False
        text = head[: error.start].decode("utf-8")
    return all(letter.isprintable() or letter in "\t\r\n\f\ufeff" for letter in text)


@contextmanager
def opened(source: Path | BinaryIO | Forward, name: str) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its picture stream, closed at the end; decoding uses the processor's cores.

    Raises:
        MediaError: no container, no picture in it, or no decoder for it.
    """
    import av
    from av.container import InputContainer

    try:
        container = av.open(
            f"file:{source}" if isinstance(source, Path) else source,
            metadata_errors="ignore",
            container_options=ALONE | ({"protocol_whitelist": "file,data"} if isinstance(source, Path) else {}),
        )
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(_why(source, name, error)) from None
    with container:
        if not isinstance(container, InputContainer):
            raise TypeError(container)
        streams = [s for s in container.streams.video if not s.disposition & s.disposition.attached_pic]
        if container.format.name == "tty":
            raise MediaError(f"{name}: {TEXT}")
        if not streams:
            what = "only sound" if container.streams.audio else "no pictures"
            raise MediaError(f"{name}: there is {what} in this file. Give the file that holds the video track.")
        stream = streams[0]
        if stream.codec_context is None:
            raise MediaError(f"{name}: its codec is unknown here. Try: ffmpeg -i '{name}' -c:v libx264 readable.mp4")
        stream.thread_type = "AUTO"
        yield container, stream


def _why(source: Path | BinaryIO | Forward, name: str, error: Exception) -> str:
    """Why FFmpeg would not open it, as far as the first bytes tell."""
    head = b""
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(4096)
    elif not isinstance(source, Forward):
        source.seek(0)
        head = source.read(4096)
    reason = getattr(error, "strerror", None) or str(error)
    if head[4:8] in (b"ftyp", b"mdat", b"wide", b"free"):
        return (
            f"{name}: cannot be opened ({reason}). Its index ('moov') is missing or damaged, as after an interrupted "
            "recording or copy. Copy it again, or rebuild the index with untrunc and a sound film of the same camera"
        )
    if isinstance(source, Forward):
        return (
            f"{name}: cannot be read from a pipe ({reason}). An mp4 with its index at the end needs a file: save it "
            "first, or write it with ffmpeg -movflags +faststart"
        )
    return (
        f"{name}: cannot be opened ({reason}). It is no video, or its header is damaged. "
        f"Try: ffmpeg -i '{name}' -c copy fixed.mkv"
    )


def packets_of(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets that hold something, past damage as far as the demuxer finds its way again."""
    import av

    failures = 0
    while failures < PATIENCE:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    failures = 0
                    yield packet
            return
        except av.FFmpegError:
            failures += 1


def frames_of(
    container: InputContainer, stream: VideoStream, entries: np.ndarray | None = None
) -> Iterator[VideoFrame]:
    """Decoded frames in the order of showing, without those that will not decode or that the decoder calls corrupt.

    Args:
        container: standing where to begin.
        stream: the pictures.
        entries: stamps of the key packets that decoding may begin with, rising; None begins with any packet.

    Raises:
        LookupError: the next key packet is none of them, so that seeking did not lead where it should.
    """
    import av

    def decoded(packet: Packet | None) -> Iterator[VideoFrame]:
        try:
            frames = stream.codec_context.decode(packet)
        except av.FFmpegError:
            return
        for frame in frames:
            if not frame.is_corrupt:
                yield frame

    packets = packets_of(container, stream)
    if entries is not None:
        first = next((packet for packet in packets if packet.is_keyframe), None)
        if first is None or first.pts is None or first.pts not in entries:
            raise LookupError(entries[-1])
        yield from decoded(first)
    for packet in packets:
        yield from decoded(packet)
    yield from decoded(None)
