"""Words with their times, and which of them a question is about."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Protocol

import numpy as np

# by `seefar.evals.read.calibrate`, on subjects and films that the benchmark does not use
LEXICAL = 0.2  # weight of equal words beside the cosine of the best lines
FOUND = (-13.79, 28.43)  # log odds that a page of this score answers the question: offset and slope
SLACK = 0.12  # a page that says the same, or goes on about it, may score less by so much
WINDOW = 4  # rows read together where a page has many

STOP = frozenset(
    """
    a about all also an and any appear appears are as at be been before being but by can could covered described did
    discussed do does done during explained film for from get gets had has have he her him his how i if in into
    introduced is it its lecture lecturer let long many may me mentioned moment more most much my no not of on one
    or other our out over page point presented said say says screen see seen she should show shown slide so some
    speaker talk talks than that the their them then there they this time to told too topic up us video was we were
    what when where which while who why will with would written you your
    """.split()  # noqa: SIM905
)

# "When does the speaker talk about rivers?" is about rivers; an encoder takes the frame for a part of the subject
FRAME = re.compile(
    r"^(?:(?:when|where|at (?:what|which) (?:point|time|moment|minute))\s+(?:is|are|was|were|does|do|did|can)\s+)"
    r"(?:(?:he|she|they|we|i|it|(?:the|his|her)\s+(?:speaker|lecturer|talk|lecture|film|video|teacher|presenter))\s+)?"
    r"(?:(?:talk|talks|talking|speak|speaks)\s+(?:about|of)|turn\s+to|explain|discuss|describe|cover|show|mention|"
    r"introduce|present)?\s*",
    re.IGNORECASE,
)
ENDING = re.compile(
    r"\s+(?:(?:is|are|was|were)\s+)?(?:shown|said|explained|discussed|described|covered|mentioned|introduced|"
    r"presented|told|the (?:topic|subject|theme))\s*$",
    re.IGNORECASE,
)


class Encoder(Protocol):
    """Anything that turns texts into vectors of length one."""

    def encode(self, texts: Sequence[str]) -> np.ndarray: ...


@dataclass(frozen=True)
class Said:
    """A line of words: on screen, or a cue of subtitles.

    Args:
        start, end: first and last second at which it was there.
        top, left: where it stands, as shares of the frame.
        height, letter: of the line, and the width of a letter, as shares of the frame; 0 where nothing is known.
    """

    text: str
    start: float
    end: float
    top: float = 0.0
    left: float = 0.0
    height: float = 0.0
    letter: float = 0.0

    @property
    def size(self) -> float:
        """The area of a letter."""
        return self.height * (self.letter or self.height)


@dataclass(frozen=True)
class Page:
    """Lines that were there together, from top to bottom.

    Args:
        before: what was said just before, which tells what a cue of subtitles goes on about.
    """

    lines: tuple[Said, ...]
    before: str = ""

    @property
    def text(self) -> str:
        return " ".join(line.text for line in self.lines)

    @property
    def start(self) -> float:
        return min(line.start for line in self.lines)

    @property
    def end(self) -> float:
        return max(line.end for line in self.lines)

    @property
    def heading(self) -> str:
        """The line in clearly larger letters near the top, which says what the others are about, if any."""
        if len(self.lines) < 2:
            return ""
        high = max((line for line in self.lines if line.top < 0.35), key=lambda line: line.size, default=self.lines[0])
        others = sorted(line.size for line in self.lines if line is not high)
        return high.text if high.size > 1.25 * others[len(others) // 2] else ""

    def groups(self) -> list[tuple[int, int]]:
        """Stretches [first, last) of lines: single ones, wrapped sentences, windows over long pages."""
        found = {(k, k + 1) for k in range(len(self.lines))}
        begin = 0
        for k in range(1, len(self.lines) + 1):
            if k == len(self.lines) or not _continues(self.lines[k - 1], self.lines[k]):
                found.add((begin, k))
                begin = k
        if len(self.lines) > WINDOW + 2:
            found |= {(k, k + WINDOW) for k in range(len(self.lines) - WINDOW + 1)}
        return sorted(found)


@dataclass(frozen=True)
class Hit:
    """A page that may answer a question.

    Args:
        first, last: the stretch of its lines that speaks for it most, [first, last), which is what to quote.
        line: the one line of them that does so most, whose beginning is the moment.
        chance: that the page answers the question, in [0, 1].
    """

    page: Page
    first: int
    last: int
    line: Said
    score: float
    chance: float

    @property
    def quoted(self) -> tuple[Said, ...]:
        return self.page.lines[self.first : self.last]

    @property
    def start(self) -> float:
        return self.line.start


class Passages:
    """All pages of a film, searched by meaning and by words.

    The score of a page is ``r + LEXICAL * l``: r the best cosine between the question and a line or a stretch of lines,
    alone or after the heading of its page or the words said before; l the share of the question's content words,
    weighed by their rarity in this film, that stand there (one wrong letter in five forgiven). The chance is logistic
    in the score.

    Args:
        pages: in order of time.
    """

    def __init__(self, pages: Sequence[Page], encoder: Encoder) -> None:
        self.pages = list(pages)
        self._encoder = encoder
        self._stretches = [(p, a, b) for p, page in enumerate(self.pages) for a, b in page.groups()]
        headings = [page.heading for page in self.pages]
        plain = [" ".join(line.text for line in self.pages[p].lines[a:b]) for p, a, b in self._stretches]
        leads = [page.before or (heading and f"{heading}:") for page, heading in zip(self.pages, headings, strict=True)]
        texts = [
            text if headings[p] and headings[p] in text else f"{leads[p]} {text}".strip()
            for text, (p, _, _) in zip(plain, self._stretches, strict=True)
        ]
        unique = list(dict.fromkeys(plain + texts))
        where = {text: k for k, text in enumerate(unique)}
        vectors = encoder.encode([readable(text) for text in unique]) if unique else np.zeros((0, 1), np.float32)
        self._rows, self._alone = (vectors[[where[text] for text in each]] for each in (texts, plain))
        self._words = [content_words(text) for text in texts]
        on_page = [content_words(f"{page.before} {page.text}") for page in self.pages]
        self._page_words = on_page
        counts = Counter(word for words in on_page for word in words)
        self._rarity = {word: math.log(1 + len(on_page) / count) for word, count in counts.items()}

    def features(self, question: str) -> np.ndarray:
        """(pages, 2): the cosine of the best lines and the share of equal words."""
        return self._features(question)[0]

    def search(self, question: str, *, most: int = 5) -> list[Hit]:
        """The pages that fit best, best first; of pages that say the same, the first one in the film comes first."""
        if not self.pages:
            return []
        features, cosines, asked = self._features(question)
        scores = features @ np.array([1.0, LEXICAL])
        hits, fits = [], {}
        for p in np.argsort(-scores, kind="stable")[: 4 * most]:
            first, last, fit = self._place(int(p), cosines, asked)
            line = self.pages[p].lines[max(range(first, last), key=lambda place: fit[place, place + 1])]
            chance = 1 / (1 + math.exp(-(FOUND[0] + FOUND[1] * float(scores[p]))))
            hits.append(Hit(self.pages[p], first, last, line, float(scores[p]), chance))
            fits[id(hits[-1])] = fit[first, last]
        near = [hit for hit in hits if hit is hits[0] or (_goes_on(hit, hits[0]) and hit.score > hits[0].score - SLACK)]
        best = max(near, key=lambda hit: fits[id(hit)])
        again = [_again(hit, best) for hit in hits]
        others = [hit for hit, same in zip(hits, again, strict=True) if same is None]
        return (sorted((hit for hit in again if hit is not None), key=lambda hit: hit.start) + others)[:most]

    def _place(self, p: int, cosines: np.ndarray, asked: set[str]) -> tuple[int, int, dict[tuple[int, int], float]]:
        """The stretch of a page's lines that fits the question best, and how well each one does."""
        page, heading = self.pages[p], self.pages[p].heading
        local = {}
        for k, (owner, first, last) in enumerate(self._stretches):
            if owner == p:
                local[first, last] = cosines[k] + 0.3 * self._overlap(asked, self._words[k])
                if last == first + 1 and page.lines[first].text == heading:
                    # a question on a detail repeats the heading's words too, but its moment is that of the detail
                    local[first, last] -= 0.15
        first, last = max(local, key=lambda stretch: local[stretch])
        return first, last, local

    def _features(self, question: str) -> tuple[np.ndarray, np.ndarray, set[str]]:
        vector = self._encoder.encode([subject(question)])[0]
        asked = content_words(question)
        told, alone = self._rows @ vector, self._alone @ vector
        cosines = np.maximum(told, alone)
        best = np.full(len(self.pages), -1.0)
        np.maximum.at(best, [p for p, _, _ in self._stretches], cosines)
        lexical = [self._overlap(asked, words) for words in self._page_words]
        return np.stack([best, np.array(lexical)], 1), (told + alone) / 2, asked

    def _overlap(self, asked: set[str], words: set[str]) -> float:
        """The share of the asked words, by rarity, that are among the words."""
        if not asked:
            return 0.0
        usual = math.log(1 + len(self.pages))
        weights = {word: self._rarity.get(word, usual) for word in asked}
        return sum(weight for word, weight in weights.items() if _among(word, words)) / sum(weights.values())


def subject(question: str) -> str:
    """What a question is about, without the words that merely ask for a moment.

    >>> subject("When does the speaker talk about rivers?"), subject("Why is the sky blue?")
    ('rivers', 'Why is the sky blue?')
    """
    bare = question.strip().rstrip("?").strip()
    core = FRAME.sub("", bare)
    if core == bare:
        return question.strip()
    return ENDING.sub("", core).strip() or question.strip()


def readable(text: str) -> str:
    """Text for the encoder: code and commands taken apart into words.

    >>> readable("$ docker run -p 8080:80 test_cart.py::test_discount")
    'docker run -p 8080:80 test cart.py:: test discount'
    """
    return " ".join(re.sub(r"[_(){}\[\]<>/=|$\"\\*#]+|(?<=::)", " ", text).split())


def content_words(text: str) -> set[str]:
    """The words that carry meaning, in lower case, their usual endings taken off."""
    return {stem(word) for word in re.findall(r"[a-z0-9]{2,}", text.lower()) if word not in STOP}


def stem(word: str) -> str:
    """A word without the ending that English puts on nouns and verbs.

    >>> [stem(word) for word in ("baking", "bakes", "baked", "countries", "glass", "1929")]
    ['bak', 'bak', 'bak', 'country', 'glass', '1929']
    """
    for ending, other in (("ies", "y"), ("ied", "y"), ("ing", ""), ("ed", ""), ("es", ""), ("s", ""), ("e", "")):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and not word.endswith("ss"):
            return word[: len(word) - len(ending)] + other
    return word


def _among(word: str, words: set[str]) -> bool:
    if word in words:
        return True
    if len(word) < 6 or word.isdigit():
        return False
    near = (other for other in words if abs(len(other) - len(word)) <= 1 and other[:1] == word[:1])
    return any(SequenceMatcher(None, word, other).ratio() >= 0.84 for other in near)


def _continues(upper: Said, lower: Said) -> bool:
    """Whether two lines are one wrapped sentence: same letters, close, under each other, there from the same time."""
    gap = lower.top - upper.top
    alike = 0.75 < (lower.height + 1e-6) / (upper.height + 1e-6) < 1.33
    return bool(
        alike
        and 0 < gap < 1.75 * upper.height
        and abs(upper.left - lower.left) < 0.06
        and abs(upper.start - lower.start) < 3
    )


def _goes_on(hit: Hit, other: Hit) -> bool:
    """Whether two hits are cues that were said shortly after each other."""
    return any(one.page.text in two.page.before for one, two in ((hit, other), (other, hit)))


def _again(hit: Hit, best: Hit) -> Hit | None:
    """The hit at its line that says what the best hit's line says, as when a slide comes back; None without one."""
    if hit.page is best.page:
        return hit
    twins = [_twins(line.text, best.line.text) for line in hit.page.lines]
    place = max(range(len(twins)), key=lambda k: (twins[k], hit.page.lines[k] is hit.line))
    line = hit.page.lines[place]
    if not twins[place] or not (hit.score > best.score - SLACK or _twins(hit.page.heading, best.page.heading)):
        return None
    if line is not hit.line:
        hit = replace(hit, first=place, last=place + 1, line=line)
    return replace(hit, chance=max(hit.chance, best.chance))


def _twins(one: str, other: str) -> bool:
    """Whether two texts, which may have lost spaces and perhaps an end to the next line, are the same."""
    short, long = sorted((re.sub(r"\W", "", text.lower()) for text in (one, other)), key=len)
    if len(short) <= 0.6 * len(long):
        return False
    match = SequenceMatcher(None, short, long, autojunk=False)
    equal = sum(block.size for block in match.get_matching_blocks())
    return match.ratio() > 0.85 or equal > 0.95 * len(short) > 0
