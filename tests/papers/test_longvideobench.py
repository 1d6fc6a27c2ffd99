"""The claim of LongVideoBench runs, and its control tells a reader of few frames from one of many."""

import pytest

from seefar.evals.coverage import some, stills
from seefar.evals.formats.longvideobench import frame_times
from seefar.papers import longvideobench
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape():
    check_paper(longvideobench, Scale("smoke", (0,)))


def test_readers_share_films_and_guesses_so_that_only_frames_differ(tmp_path):
    verdict = longvideobench.claim(Scale("smoke", (1,), tmp_path))
    curves = verdict.figures["accuracy by (group, frames)"]
    uniform, few = curves["uniform frames"], curves["at most 8 frames"]
    assert uniform["(600, 4)"] == few["(600, 4)"]
    assert uniform["(600, 256)"]["mean"] > few["(600, 256)"]["mean"]
    assert longvideobench.claim(Scale("smoke", (1,), tmp_path)).figures == verdict.figures


def test_the_reader_of_eight_sees_eight_frames_of_any_number():
    looks = [some(stills(frame_times("lmms-eval", n, duration=600.0)), 8, 0) for n in (4, 16, 64)]
    assert [len(look) for look in looks] == [4, 8, 8]


def test_a_wrong_group_is_refused():
    with pytest.raises(ValueError, match="groups of"):
        longvideobench._set({30: 1}, 0)
