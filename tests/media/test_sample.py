"""The rules of sampling on tables of frames, and that choosing in passing gives what choosing from the table gives."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seefar.media import Fps, Keyframes, MediaError, Times, Uniform
from seefar.media.timeline import Timeline


def table(stamps, tick=1e-3, last=40):
    stamps = np.asarray(stamps)
    key = np.arange(len(stamps)) % 5 == 0
    return Timeline(stamps, key, stamps[key], tick, 0.0, float(stamps[-1] + last) * tick)


GAPS = st.lists(st.integers(1, 3000), min_size=0, max_size=40)


def in_passing(sampling, timeline):
    """What a pipe reader chooses: each frame with the time of the next one."""
    pick = sampling.picker()
    chosen = []
    seconds = timeline.seconds
    for position in range(len(timeline)):
        begin = 0.0 if position == 0 else seconds[position] - timeline.slack
        last = position + 1 == len(timeline)
        end = math.nextafter(timeline.duration, math.inf) if last else seconds[position + 1] - timeline.slack
        chosen += [position] * pick(begin, end, bool(timeline.key[position]))
    return chosen


@settings(max_examples=80, deadline=None)
@given(GAPS, st.floats(0.05, 60))
def test_fps_takes_the_frame_shown_at_each_multiple_and_none_twice(gaps, rate):
    timeline = table(np.cumsum([0, *gaps]))
    expected = set()
    for k in range(math.ceil(timeline.duration * rate) + 1):
        if k / rate < timeline.duration - 1e-9:
            expected.add(int(np.flatnonzero(timeline.seconds <= k / rate + timeline.slack)[-1]))
    got = Fps(rate).choose(timeline).tolist()
    assert len(set(got) ^ expected) <= 1  # a multiple that falls on the very half tick may go either way
    assert got == in_passing(Fps(rate), timeline)


@settings(max_examples=50, deadline=None)
@given(GAPS, st.lists(st.floats(0, 1), min_size=1, max_size=10))
def test_times_and_keyframes_chosen_in_passing_are_those_of_the_table(gaps, parts):
    timeline = table(np.cumsum([0, *gaps]))
    times = Times(sorted(part * timeline.duration for part in parts))
    assert times.choose(timeline).tolist() == in_passing(times, timeline)
    assert Keyframes().choose(timeline).tolist() == in_passing(Keyframes(), timeline)


def test_a_rate_above_the_films_own_gives_every_frame_once():
    timeline = table(np.arange(48) * 42)
    for rate in (24, 30, 1000):
        assert Fps(rate).choose(timeline).tolist() == list(range(48))


def test_the_films_own_rate_survives_stamps_rounded_to_milliseconds():
    stamps = np.round(np.arange(500) * 1000 / 24).astype(np.int64)
    assert Fps(24).choose(table(stamps, last=42)).tolist() == list(range(500))


def test_uniform_takes_the_middles_of_equal_parts():
    timeline = table(np.arange(100) * 40)
    assert Uniform(4).choose(timeline).tolist() == [12, 37, 62, 87]
    assert Uniform(100).choose(timeline).tolist() == list(range(100))
    assert Uniform(1000).choose(timeline).tolist() == list(range(100))
    assert Uniform(1).choose(timeline).tolist() == [50]


def test_uniform_gives_one_frame_for_parts_through_which_one_picture_stands():
    timeline = table([0, 40, 80, 10_000], last=40)
    assert Uniform(3).choose(timeline).tolist() == [2]


def test_times_repeat_a_frame_that_two_times_ask_for():
    assert Times([0.0, 0.05, 0.06]).choose(table(np.arange(10) * 40)).tolist() == [0, 1, 1]


def test_uniform_on_a_pipe_says_what_to_do():
    with pytest.raises(MediaError, match="save it to a file, or sample with Fps"):
        Uniform(3).picker()


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_must_be_positive(rate):
    with pytest.raises(ValueError, match=r"for example Fps\(1\)"):
        Fps(rate)


@pytest.mark.parametrize(
    ("seconds", "message"),
    [([], "at least one"), ([2, 1], "rising order"), ([-1], "0 or more"), ([math.nan], "0 or more")],
)
def test_times_must_rise_from_zero(seconds, message):
    with pytest.raises(ValueError, match=message):
        Times(seconds)


def test_uniform_needs_a_count():
    with pytest.raises(ValueError, match=r"for example Uniform\(64\)"):
        Uniform(0)
