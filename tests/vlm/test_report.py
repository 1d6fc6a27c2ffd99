"""The report: one page that shows the right pictures at the right places and loads nothing."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from seefar import media
from seefar.vlm.answer import Answer, Cost, Moment
from seefar.vlm.report import MOST_MOMENTS, take_stills, write_report

SECONDS, RATE = 60, 4


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A minute in which the grey of a frame tells its second: 40 + 3 * second."""
    path = tmp_path_factory.mktemp("film") / "greys & more.mp4"
    frames = (np.full((90, 160, 3), 40 + 3 * (k // RATE), np.uint8) for k in range(SECONDS * RATE))
    return media.write_video(path, frames, RATE, crf=10, gop=16)


class Page(HTMLParser):
    """The tags of a page, with what stands inside style, script and everything else."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data

    def all(self, tag, **wanted):
        return [a for t, a in self.tags if t == tag and all(a.get(k.rstrip("_")) == v for k, v in wanted.items())]


def answer(moments=(), question="When?", looked=(), text="Then.", warnings=()):
    cost = Cost(3600, 212, 57_600, 4_096, {"read": 7.0, "answer": 3.0}, 1 << 30)
    return Answer(text, tuple(moments), cost, "fake", question, tuple(looked), warnings=tuple(warnings))


def page_of(tmp_path, film, answers, **more):
    return Page(write_report(tmp_path / "r.html", media.open(film), answers, **more).read_text("utf-8"))


def grey(uri):
    head, body = uri.split(",")
    assert head == "data:image/jpeg;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("L")).mean()


def test_the_page_loads_nothing(tmp_path, film):
    text = write_report(tmp_path / "r.html", media.open(film), [answer([Moment(5, 9, 0.8)])]).read_text("utf-8")
    for tag, attributes in Page(text).tags:
        assert tag not in ("link", "iframe", "object", "embed")
        for name in ("src", "href", "action", "srcset", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:image/jpeg;base64,")), (tag, attributes)
    assert not re.search(r"url\(|@import|fetch\(|https?://", text)
    policy = Page(text).all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert "default-src 'none'" in policy


def test_each_moment_is_shown_by_the_picture_of_its_middle(tmp_path, film):
    moments = [Moment(40, 44, 0.9), Moment(5, 5, 0.5), Moment(20.5, 20.5, 0.2)]
    page = page_of(tmp_path, film, [answer(moments)])
    shown = [image for image in page.all("img") if image["alt"] != ""][-3:]
    for image, second in zip(shown, (42, 5, 20), strict=True):
        assert grey(image["src"]) == pytest.approx(40 + 3 * second, abs=2.5)


def test_the_strip_goes_through_the_film_from_left_to_right(tmp_path, film):
    greys = [grey(image["src"]) for image in page_of(tmp_path, film, [answer()]).all("img")]
    assert len(greys) == 12
    np.testing.assert_allclose(greys, [40 + 3 * int((k + 0.5) * 5) for k in range(12)], atol=2.5)


def test_pins_stand_at_their_share_of_the_film_and_lead_to_their_pictures(tmp_path, film):
    page = page_of(tmp_path, film, [answer([Moment(15, 15, 0.9), Moment(30, 36, 0.4)])])
    first, second = page.all("a", class_="mark")
    assert "left:25.000%;width:0.000%" in first["style"]
    assert "left:55.000%;width:10.000%" in second["style"]
    heights = [int(re.search(r"--h:(\d+)%", pin["style"])[1]) for pin in (first, second)]
    assert heights[0] > heights[1]
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {first["href"], second["href"]} <= {f"#{name}" for name in ids}
    assert "00:30 – 00:36" in second["aria-label"]


def test_every_looked_at_second_is_a_tick_at_its_place(tmp_path, film):
    page = page_of(tmp_path, film, [answer(looked=[0, 15, 30, 59.999])])
    ticks = re.findall(r"M([\d.]+) ", page.all("path", class_="looked")[0]["d"])
    assert [float(tick) for tick in ticks] == [0, 250, 500, 1000]


def test_a_hundred_thousand_looked_at_frames_stay_a_small_page(tmp_path, film):
    many = write_report(tmp_path / "m.html", media.open(film), [answer(looked=np.linspace(0, 60, 100_000).tolist())])
    few = write_report(tmp_path / "f.html", media.open(film), [answer(looked=[1.0])])
    assert many.stat().st_size - few.stat().st_size < 150_000


def test_words_of_others_stay_words(tmp_path, film):
    evil = '</p><script>alert("x")</script> & "q"'
    page = page_of(tmp_path, film, [answer([Moment(1, 2, 0.5, evil)], question=evil, text=evil, warnings=[evil])])
    assert len(page.all("script")) == 1
    assert page.text.count(evil) >= 4


def test_scores_outside_zero_to_one_are_drawn_at_the_ends(tmp_path, film):
    page = page_of(tmp_path, film, [answer([Moment(1, 2, 7.0), Moment(3, 4, -2.0)])])
    widths = [i["style"] for i in page.all("i") if i.get("style", "").startswith("width:") and ";" not in i["style"]]
    assert widths == ["width:100.0%", "width:0.0%"]


def test_several_answers_share_one_film_and_warnings_they_share_are_told_once(tmp_path, film):
    both = [answer([Moment(10, 10, 0.9)], "A?", warnings=["w1", "mine"]), answer([], "B?", warnings=["w1"])]
    page = page_of(tmp_path, film, both, truths=[("00:10", True), ("never", False)])
    assert page.text.count("w1") == 1
    assert page.text.count("mine") == 1
    assert "✓ right" in page.text and "✗ wrong" in page.text and "never" in page.text
    assert len(page.all("article")) == 2
    assert len(page.all("div", class_="timeline")) == 3
    assert page.all("a", class_="mark")[0]["data-n"] == "1"


def test_more_moments_than_fit_are_counted(tmp_path, film):
    page = page_of(tmp_path, film, [answer([Moment(k, k, 0.5) for k in range(MOST_MOMENTS + 4)])])
    assert "and 4 weaker moments" in page.text
    assert len(page.all("li")) == MOST_MOMENTS


def test_a_damaged_film_gives_the_pictures_that_can_be_read(tmp_path, film):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(_without_the_middle(film.read_bytes()))
    stills = take_stills(media.open(broken), [2.0, 57.0], 80)
    for second, picture in stills.items():
        assert picture.mean() == pytest.approx(40 + 3 * second, abs=8)
        assert picture.shape[1] == 80
    page = page_of(tmp_path, broken, [answer([Moment(2, 2, 0.9), Moment(30, 30, 0.5)])])
    assert page.text.count("no picture could be decoded here") <= 2
    assert len(page.all("li")) == 2


def _without_the_middle(data):
    """Pictures zeroed between two fifths and three fifths of the media data, the index left whole."""
    start = data.index(b"mdat") + 8
    end = data.index(b"moov") if data.index(b"moov") > start else len(data)
    a, b = start + (end - start) * 2 // 5, start + (end - start) * 3 // 5
    return data[:a] + bytes(b - a) + data[b:]


def test_a_pipe_gives_a_page_without_pictures(tmp_path, film):
    class OneWay(io.RawIOBase):
        def __init__(self, data):
            self.data = io.BytesIO(data)

        def readable(self):
            return True

        def seekable(self):
            return False

        def readinto(self, buffer):
            return self.data.readinto(buffer)

    matroska = media.write_video(tmp_path / "f.mkv", (np.zeros((32, 32, 3), np.uint8) for _ in range(40)), 4)
    video = media.open(OneWay(matroska.read_bytes()))
    page = Page(write_report(tmp_path / "r.html", video, [answer([Moment(1, 9, 0.5)])]).read_text("utf-8"))
    assert page.all("img") == []
    assert page.all("div", class_="lane")[0]["data-seconds"] == "9.000"


def test_the_page_can_be_read_and_walked_through_without_seeing_it(tmp_path, film):
    page = page_of(tmp_path, film, [answer([Moment(1, 2, 0.5)]), answer([Moment(3, 4, 0.5)])])
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == len(page.all("main")) == 1
    assert all(image["alt"] for image in page.all("img"))
    assert all(pin["aria-label"] for pin in page.all("a", class_="mark"))
    assert page.all("meta", name="viewport")


def test_nothing_to_show_is_refused(tmp_path, film):
    with pytest.raises(ValueError, match="no answer"):
        write_report(tmp_path / "r.html", media.open(film), [])
    with pytest.raises(ValueError, match="1 answers need as many truths, got 2"):
        write_report(tmp_path / "r.html", media.open(film), [answer()], truths=[("a", True), ("b", True)])
