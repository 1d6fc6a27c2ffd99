"""One self-contained HTML page for a film and its answers: a time line, the evidence in pictures, and the bill.

The page loads nothing: style, script and pictures are inside it, and it forbids everything else.
"""

from __future__ import annotations

import base64
import io
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import partial
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from seefar.vlm.answer import Answer, Cost, Moment, clock

if TYPE_CHECKING:
    import numpy as np

    from seefar.media import Video

STRIP = 12
"""Pictures in the strip over the whole film."""

MOST_MOMENTS = 9
NEAR = 2.0
"""Seconds by which a picture may lie before the moment it stands for, where frames are damaged."""

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)

Stills = Mapping[float, str]
"""Second -> picture as a data URI; a second without a picture could not be decoded."""


def write_report(
    path: str | Path, video: Video, answers: Sequence[Answer], *, truths: Sequence[tuple[str, bool]] = ()
) -> Path:
    """Writes the page and gives back its path.

    Args:
        path: where to, usually ending in .html.
        video: the film the answers are about; the pictures of the moments are decoded from it once more.
        answers: in the order to show them.
        truths: for films whose contents are known, the right answer to each question and
            whether the one given is right.

    Raises:
        ValueError: no answers, or as many truths as answers are not given.
    """
    if not answers:
        raise ValueError("write_report: there is no answer to show")
    if truths and len(truths) != len(answers):
        raise ValueError(f"write_report: {len(answers)} answers need as many truths, got {len(truths)}")
    duration = _duration(video, answers)
    strip = [(k + 0.5) / STRIP * duration for k in range(STRIP)]
    shown = [_middle(moment) for answer in answers for moment in answer.moments[:MOST_MOMENTS]]
    stills = {**_stills(video, strip, 180), **_stills(video, shown, 480)}
    page = _page(video, answers, truths, duration, strip, stills)
    path = Path(path)
    path.write_text(page, encoding="utf-8")
    return path


def take_stills(video: Video, seconds: Sequence[float], width: int) -> dict[float, np.ndarray]:
    """The picture shown at each second, (H, W, 3) uint8, at most ``width`` wide.

    A second near which nothing can be decoded is left out; so is all of a film that came through a pipe.
    """
    from seefar.media import MediaError, Times

    info, wanted = video.info, sorted(set(seconds))
    if info.duration is None or not wanted:
        return {}
    times = Times(min(max(second, 0.0), info.duration) for second in wanted)
    small = (max(1, round(info.height * width / info.width)), width) if info.width > width else None
    frames: list[np.ndarray] = []
    stamps: list[float] = []
    try:
        for clip in video.read(times, size=small):
            frames += [frame.permute(1, 2, 0).numpy() for frame in clip.frames]
            stamps += clip.seconds.tolist()
    except MediaError:  # damage: what was read up to it is still shown
        pass
    if len(frames) == len(wanted):
        return dict(zip(wanted, frames, strict=True))
    places = [(second, bisect_right(stamps, second) - 1) for second in wanted]
    return {second: frames[k] for second, k in places if k >= 0 and second - stamps[k] <= NEAR}


def _stills(video: Video, seconds: Sequence[float], width: int) -> dict[float, str]:
    return {second: _data_uri(picture) for second, picture in take_stills(video, seconds, width).items()}


def _data_uri(picture: np.ndarray) -> str:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=82, optimize=True, progressive=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _duration(video: Video, answers: Sequence[Answer]) -> float:
    ends = [moment.end for answer in answers for moment in answer.moments]
    looked = [answer.looked[-1] for answer in answers if answer.looked]
    return max([video.info.duration or 0.0, *ends, *looked, 1e-3])


def _middle(moment: Moment) -> float:
    return (moment.start + moment.end) / 2


def _page(
    video: Video,
    answers: Sequence[Answer],
    truths: Sequence[tuple[str, bool]],
    duration: float,
    strip: Sequence[float],
    stills: Stills,
) -> str:
    info, many = video.info, len(answers) > 1
    name = Path(info.path or "film").name
    models = ", ".join(dict.fromkeys(answer.model for answer in answers))
    facts = (
        clock(round(duration)),
        f"{info.width} × {info.height}",
        f"{info.rate:.3g} frames a second",
        f"answered by {models}",
    )
    common = [warning for warning in answers[0].warnings if all(warning in answer.warnings for answer in answers)]
    article = partial(_article, duration=duration, stills=stills, own_timeline=many, told=common)
    template, style, script = (
        files("seefar.vlm").joinpath(f"report.{end}").read_text("utf-8") for end in ("html", "css", "js")
    )
    return Template(template).substitute(
        title=escape(f"{name}: {answers[0].question}"),
        style=style,
        name=escape(name),
        facts=escape(" · ".join(facts)),
        strip="".join(_image(stills[second], second) for second in strip if second in stills),
        overview=_timeline(duration, dict(enumerate(answers)), number="question" if many else "moment"),
        legend="evidence: here by question, below by moment" if many else "evidence, taller where the score is higher",
        notes=_notes(common),
        articles="".join(article(k, answer, truths[k] if truths else None) for k, answer in enumerate(answers)),
        script=script,
    )


def _image(picture: str, second: float) -> str:
    return f'<img src="{picture}" alt="The film at {clock(second)}">'


def _timeline(duration: float, answers: Mapping[int, Answer], *, number: str) -> str:
    """The film from left to right: ticks where it was looked at, pins where the evidence is, a ruler underneath.

    Pins are numbered by "question", one for each, or by "moment".
    """
    looked = sorted({round(second / duration * 1000, 1) for answer in answers.values() for second in answer.looked})
    ticks = "".join(f"M{x:g} 0V100" for x in looked)
    pins = []
    for k, answer in answers.items():
        for m, moment in enumerate(answer.moments[: MOST_MOMENTS if number == "moment" else 1]):
            label = f"Question {k + 1}, moment {m + 1}: {_when(moment)}, score {moment.score:.2f}"
            pins.append(
                f'<a class="mark" href="#q{k + 1}-m{m + 1}" data-n="{k + 1 if number == "question" else m + 1}" '
                f'style="left:{_middle(moment) / duration:.3%};width:{(moment.end - moment.start) / duration:.3%};'
                f'--h:{24 + 36 * _share(moment.score):.0f}%" aria-label="{escape(label)}"></a>'
            )
    return (
        f'<div class="timeline"><div class="lane" data-seconds="{duration:.3f}" role="group" '
        f'aria-label="Time line, {len(looked)} places looked at, {len(pins)} marked">'
        '<svg viewBox="0 0 1000 100" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="looked" d="{ticks}"/></svg>'
        f'{"".join(pins)}</div><div class="ruler" aria-hidden="true">{_ruler(duration)}</div></div>'
    )


def _ruler(duration: float) -> str:
    step = next((step for step in STEPS if duration / step <= 9), STEPS[-1])
    marks = [k * step for k in range(int(duration / step) + 1)] if duration >= 1 else [0.0]
    return "".join(f'<span style="left:{second / duration:.2%}">{clock(second)}</span>' for second in marks)


def _notes(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(warning)}</li>" for warning in warnings)
    return f'<ul class="notes" aria-label="Warnings">{items}</ul>\n' if items else ""


def _article(
    k: int,
    answer: Answer,
    truth: tuple[str, bool] | None,
    *,
    duration: float,
    stills: Stills,
    own_timeline: bool,
    told: Sequence[str],
) -> str:
    number = f'<span class="n">{k + 1}</span>' if own_timeline else ""
    verdict = ""
    if truth is not None:
        word, right = truth
        mark = '<b class="right">✓ right</b>' if right else '<b class="wrong">✗ wrong</b>'
        verdict = f'<p class="truth">{mark} · the truth is: {escape(word)}</p>\n'
    line = _timeline(duration, {k: answer}, number="moment") if own_timeline else ""
    cards = "".join(_card(k, m, moment, stills) for m, moment in enumerate(answer.moments[:MOST_MOMENTS]))
    moments = f'<ol class="moments">{cards}</ol>' if cards else '<p class="none">No moment of the film was named.</p>'
    hidden = len(answer.moments) - MOST_MOMENTS
    more = f'<p class="more">and {hidden} weaker moments</p>' if hidden > 0 else ""
    notes = _notes([warning for warning in answer.warnings if warning not in told])
    return (
        f'<article id="q{k + 1}">\n<h2>{number}{escape(answer.question)}</h2>\n'
        f'<p class="answer">{escape(answer.text)}</p>\n'
        f"{verdict}{line}\n{moments}{more}\n{_bill(answer)}\n{notes}</article>\n"
    )


def _card(k: int, m: int, moment: Moment, stills: Stills) -> str:
    picture = stills.get(_middle(moment))
    blank = '<div class="blank">no picture could be decoded here</div>'
    image = _image(picture, _middle(moment)) if picture else blank
    quote = f"<blockquote>{escape(moment.text)}</blockquote>" if moment.text else ""
    return (
        f'<li id="q{k + 1}-m{m + 1}">{image}<div class="words">'
        f'<div class="when"><span class="n">{m + 1}</span>{_when(moment)}'
        f'<span class="score" title="score">{moment.score:.2f}</span></div>'
        f'<div class="bar" aria-hidden="true"><i style="width:{_share(moment.score):.1%}"></i></div>{quote}</div></li>'
    )


def _bill(answer: Answer) -> str:
    cost = answer.cost
    return (
        '<dl class="bill" aria-label="What it cost">'
        f"<div><dt>Frames looked at</dt><dd>{cost.frames_seen:,} <small>→ {cost.frames_kept:,} kept</small></dd></div>"
        f"<div><dt>Visual tokens</dt><dd>{cost.tokens_seen:,} <small>→ {cost.tokens_kept:,} kept</small></dd></div>"
        f"<div><dt>Peak memory</dt><dd>{cost.peak_bytes / 2**30:.2f} GB</dd></div>"
        f'<div class="wide"><dt>Time</dt><dd>{_stages(cost)}</dd></div></dl>'
    )


def _stages(cost: Cost) -> str:
    total = sum(cost.seconds.values())
    parts = [(name, seconds) for name, seconds in cost.seconds.items() if seconds > 0.005 * total]
    bars = "".join(
        f'<i style="width:{seconds / total:.1%};background:var(--stage-{k % 5})"></i>'
        for k, (_, seconds) in enumerate(parts)
    )
    names = ", ".join(f"{escape(name)} {seconds:.1f}" for name, seconds in parts)
    return f'{total:.1f} s<div class="stages" aria-hidden="true">{bars}</div><small>{names}</small>'


def _when(moment: Moment) -> str:
    first, last = clock(moment.start), clock(moment.end)
    return first if first == last else f"{first} – {last}"


def _share(score: float) -> float:
    return min(1.0, max(0.0, score))
