"""Files that are no films, and films that are hurt: a clear error or what can be read, no crash and no hang."""

import io
import math
import re
import time

import numpy as np
import pytest

import seefar.media
from seefar.media import Fps, MediaError, Times, Uniform, write_video
from seefar.media.film import Film
from seefar.media.video import Video


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pictures, remux):
    """The same 240 frames as mp4 with its index behind, in front, as mkv and as ts."""
    folder = tmp_path_factory.mktemp("hurt")
    behind = write_video(folder / "behind.mp4", pictures(240), 24, gop=24, options={"bf": "2"})
    front = remux(behind, folder / "front.mp4", options={"movflags": "faststart"})
    return {
        "behind": behind,
        "front": front,
        "mkv": remux(behind, folder / "film.mkv"),
        "ts": remux(behind, folder / "film.ts"),
    }


def hurt(path, target, damage):
    data = bytearray(path.read_bytes())
    data = damage(data) or data
    target.write_bytes(data)
    return target


def cut(part):
    return lambda data: data[: int(len(data) * part)]


def sound_only(path):
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 88200), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_each_kind_of_useless_file_gets_its_own_error(tmp_path, whole):
    (tmp_path / "notes.txt").write_text("Grüße\n" * 900, encoding="utf-8")
    (tmp_path / "notes.mp4").write_text("hello\n" * 50)
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (tmp_path / "folder").mkdir()
    sound_only(tmp_path / "song.m4a")
    hurt(whole["behind"], tmp_path / "cut.mp4", cut(0.6))
    messages = {}
    for name in ("notes.txt", "notes.mp4", "empty.mp4", "noise.mp4", "folder", "song.m4a", "cut.mp4", "missing.mkv"):
        with pytest.raises(MediaError) as caught:
            seefar.media.open(tmp_path / name).clip(Fps(1))
        messages[name] = str(caught.value)
        assert name in messages[name]
    assert "text file" in messages["notes.txt"] and "text file" in messages["notes.mp4"]
    assert "0 bytes" in messages["empty.mp4"]
    assert "header is damaged" in messages["noise.mp4"] and "ffmpeg -i" in messages["noise.mp4"]
    assert "no images in this folder" in messages["folder"]
    assert "only sound" in messages["song.m4a"]
    assert "'moov'" in messages["cut.mp4"]
    assert "no such file" in messages["missing.mkv"]
    with pytest.raises(MediaError, match=r"Did you mean notes\.mp4, notes\.txt\?"):
        seefar.media.open(tmp_path / "notes.mkv")


def test_a_cover_picture_does_not_make_sound_a_film(tmp_path, picture):
    import av
    from PIL import Image

    Image.fromarray(picture(3)).save(tmp_path / "cover.jpg")
    with av.open(str(tmp_path / "cover.jpg")) as cover, av.open(str(tmp_path / "song.mp4"), "w") as song:
        sound = song.add_stream("aac", rate=44100)
        art = song.add_stream_from_template(cover.streams.video[0])
        art.disposition = av.stream.Disposition.attached_pic
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        song.start_encoding()
        for packet in cover.demux(video=0):
            if packet.size:
                packet.stream = art
                song.mux(packet)
        song.mux(sound.encode(frame))
        song.mux(sound.encode(None))
    with av.open(str(tmp_path / "song.mp4")) as made:
        assert len(made.streams.video) == 1, "the cover is a picture stream"
    with pytest.raises(MediaError, match="only sound"):
        _ = seefar.media.open(tmp_path / "song.mp4").info


def test_a_playlist_neither_calls_hosts_nor_hangs(tmp_path, whole):
    text = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:9/a.ts\n#EXTINF:5,\n{whole['ts']}\n"
    (tmp_path / "list.m3u8").write_text(text)
    with pytest.raises(MediaError, match="not a playlist"):
        seefar.media.open(tmp_path / "list.m3u8")
    begin = time.monotonic()
    with pytest.raises(MediaError):
        _ = seefar.media.open(io.BytesIO(text.encode())).info
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(("kind", "part"), [("front", 0.3), ("front", 0.7), ("front", 0.95), ("mkv", 0.5), ("ts", 0.5)])
def test_a_truncated_film_gives_what_is_there_and_says_what_is_not(tmp_path, whole, plain, number, kind, part):
    path = hurt(whole[kind], tmp_path / f"day{whole[kind].suffix}", cut(part))
    oracle = [number(picture) for _, picture, _ in plain(path)]
    video = seefar.media.open(path)
    clip = video.clip(Fps(1000))
    got = [number(frame) for frame in clip.frames]
    # one thread patches the frame in which the cut falls, several give it up; all others must be there
    assert set(oracle) - set(got) <= set(oracle[-3:]) and len(oracle) - len(got) <= 1
    assert got == sorted(got) and len(set(range(oracle[-1])) - set(oracle)) <= 1
    assert 0.4 * part < len(oracle) / 240 < 1.2 * part
    if kind != "ts":  # whose header promises nothing
        assert any("breaks off" in text or "could not be decoded" in text for text in video.warnings)


def test_undecodable_frames_are_counted_and_dated(tmp_path, whole, plain, number):
    def zero(data):
        data[len(data) // 2 : len(data) // 2 + 1200] = bytes(1200)

    path = hurt(whole["front"], tmp_path / "day.mp4", zero)
    oracle = [(pts * float(base), number(picture)) for pts, picture, base in plain(path)]
    video = seefar.media.open(path)
    clip = video.clip(Fps(24))
    there = {round(second * 24) for second in clip.seconds.tolist()}
    lost = set(range(240)) - {round(second * 24) for second, _ in oracle}
    missing = sorted(set(range(240)) - there)
    assert lost, "the damage must hit"
    # one thread patches the frames at the edges of the damage, several give them up
    assert lost <= set(missing) and len(missing) - len(lost) <= 2 and len(there) == len(clip)
    assert missing == list(range(missing[0], missing[-1] + 1))
    assert video.report.damaged == len(missing) and video.report.decoded == len(clip)
    assert video.report.first_damage_seconds == pytest.approx(missing[0] / 24)
    second = missing[0] // 24
    text = f"day.mp4: {len(missing)} of 240 frames could not be decoded (first at 00:00:{second:02d})"
    assert video.warnings == [text]
    # the frame before stands in, under its own time, for an asked time; and a sampling without repeats drops it
    middle = missing[len(missing) // 2]
    before = max(index for index in there if index < middle)
    clip = video.clip(Times([middle / 24, middle / 24]))
    assert [round(second * 24) for second in clip.seconds.tolist()] == [before, before]


def test_thirty_mutated_films_neither_crash_nor_hang_and_seeking_agrees_with_decoding_through(tmp_path, whole, number):
    rng = np.random.default_rng(11)
    read = refused = 0
    for trial in range(30):
        kind = ("front", "mkv", "ts", "behind")[trial % 4]

        def damage(data, trial=trial):
            size = len(data)
            at = int(rng.integers(size // 20, size))
            if trial % 3 == 0:
                for place in rng.integers(0, size, 15):
                    data[place] ^= int(rng.integers(1, 256))
            elif trial % 3 == 1:
                data[at : at + 400] = rng.bytes(400)
            else:
                del data[at : at + 300]

        path = hurt(whole[kind], tmp_path / f"{trial}{whole[kind].suffix}", damage)
        seconds, damaged = [], 0
        for cost in (0, math.inf):
            video = Video(Film(path, path.name, seek_cost=cost), path)
            try:
                clip = video.clip(Uniform(20), size=(16, 24))
            except MediaError as error:
                assert path.name in str(error)
                seconds.append(None)
            else:
                seconds.append(clip.seconds.tolist())
                damaged += video.report.damaged
        if damaged and None not in seconds:  # which half-destroyed frames threads give up is the decoder's luck
            assert len(set(seconds[0]) ^ set(seconds[1])) <= 4, path.name
        else:
            assert seconds[0] == seconds[1], path.name
        read, refused = read + (seconds[0] is not None), refused + (seconds[0] is None)
    assert read > 15


def test_a_film_of_nothing_but_damage_is_an_error(tmp_path, whole):
    def ruin(data):
        start = data.find(b"mdat") + 4
        data[start:] = bytes(len(data) - start)

    path = hurt(whole["front"], tmp_path / "day.mp4", ruin)
    with pytest.raises(MediaError, match=re.escape("day.mp4: no frame can be decoded (codec h264)")):
        seefar.media.open(path).clip(Fps(1))
