"""Several needles in one haystack, some of them asked for, in the format and by the score of Large World Model.

Each needle gives a city its number; the text around says nothing of either.

Reference: Liu et al., arXiv 2402.08268; sentences, places and score as in LargeWorldModel/LWM, after Arize-ai's needle
test.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

NEEDLE = "\nThe special magic {city} number is: {number}\n"
PROMPT = (
    "You are a helpful assistant. USER: {context} {question} Don't give information outside the document. ASSISTANT: "
)
RESERVED = 200
"""Tokens of the context left free for question and answer."""
# fmt: off
CITIES = (
    "Chicago", "Yangon", "Antananarivo", "Colombo", "Almaty", "Sydney", "Seattle", "Lagos", "Amsterdam", "Belgrade",
    "Cairo", "Baghdad", "Damascus", "Kigali", "Dakar", "Sofia", "Victoria", "Tashkent", "Mumbai", "Barcelona",
    "Amman", "Toronto", "Bratislava", "Johannesburg", "Thimphu", "Bangkok", "Santiago", "Paris", "Rabat",
    "Copenhagen", "Madrid", "Sarajevo", "Delhi", "Istanbul", "Khartoum", "Helsinki", "Doha", "Budapest", "Shanghai",
    "Moscow", "Oslo", "Berlin", "Bangalore", "Tokyo", "Melbourne", "Lisbon", "Nairobi", "Kampala", "Lima", "Maputo",
    "Vancouver", "Dubai", "Jakarta", "Yerevan", "Beirut", "Athens", "Bucharest", "Brussels", "Tunis", "Astana",
    "Seoul", "Vienna", "Mexico City", "San Francisco", "Ho Chi Minh City", "Kuala Lumpur", "Los Angeles",
    "Port Louis", "Buenos Aires",
)
# fmt: on
Encode = Callable[[str], list[int]]
Decode = Callable[[list[int]], str]


@dataclass(frozen=True)
class Sample:
    """A haystack with its needles and a question.

    Args:
        context: the text, needles and all.
        length: tokens that it was made for.
        needles: city -> its number and its depth in %.
        asked: the cities that the question names, in its order.
        seed: of the choice.
    """

    context: str
    length: int
    needles: Mapping[str, tuple[str, float]]
    asked: tuple[str, ...]
    seed: int = 0

    @property
    def question(self) -> str:
        """What are the special magic numbers for A, B, and C?"""
        if len(self.asked) == 1:
            return f"What is the special magic number for {self.asked[0]}?"
        return f"What are the special magic numbers for {', '.join(self.asked[:-1])}, and {self.asked[-1]}?"

    @property
    def prompt(self) -> str:
        """What a model is given."""
        return PROMPT.format(context=self.context, question=self.question)

    @property
    def answers(self) -> list[str]:
        """The numbers that are asked for."""
        return [self.needles[city][0] for city in self.asked]

    def correct(self, response: str) -> list[bool]:
        """Which of the numbers stand in what was said, whatever stands around them."""
        return [number in response for number in self.answers]


def score(samples: Sequence[Sample], responses: Sequence[str]) -> float:
    """Share of all numbers asked for that were said.

    Raises:
        ValueError: not one response for each sample, or none.
    """
    if len(samples) != len(responses) or not samples:
        raise ValueError(f"score: needs a response for each sample, got {len(samples)} and {len(responses)}")
    marks = [mark for sample, said in zip(samples, responses, strict=True) for mark in sample.correct(said)]
    return sum(marks) / len(marks)


def make(
    text: str,
    length: int,
    *,
    needles: int,
    asked: int,
    depths: Sequence[float],
    encode: Encode,
    decode: Decode,
    digits: int = 7,
    cities: Sequence[str] = CITIES,
    needle: str = NEEDLE,
    reserved: int = RESERVED,
    seed: int = 0,
) -> Sample:
    """Hide needles in a text, one after another, each at a depth of its own.

    Differs: from the shallowest to the deepest; the authors' order of chance cuts off what stood at the end before.

    Args:
        text: the haystack; as much of it is used as there is room for.
        length: tokens of the context, those for question and answer included.
        needles: how many.
        asked: how many of them the question names.
        depths: in %, of which each needle gets another one.
        encode: a text into tokens, and ``decode`` back.
        decode: tokens into a text.
        digits: of a number, whose first is no 0.
        cities: to choose from.
        needle: its sentence, with {city} and {number}.
        reserved: tokens left free.
        seed: decides everything.

    Raises:
        ValueError: more asked for than hidden, fewer depths or cities than needles, or no room.
    """
    if not 1 <= asked <= needles or needles > min(len(depths), len(set(cities))) or digits < 1:
        raise ValueError(
            f"make: needs 1 <= asked <= needles, and a depth and a city for each, got {asked=}, {needles=}, "
            f"{len(depths)} depths, {len(set(cities))} cities, {digits=}"
        )
    if any(not 0 <= depth <= 100 for depth in depths):
        raise ValueError(f"make: depths are in %, 0 to 100, got {list(depths)}")
    draw = random.Random(f"multi needle {seed}")
    chosen = draw.sample(sorted(set(cities)), needles)
    places = draw.sample(list(depths), needles)
    numbers = [str(draw.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits)) for _ in chosen]
    context = decode(encode(text)[:length])
    for depth, city, number in sorted(zip(places, chosen, numbers, strict=True)):
        sentence = needle.format(city=city, number=number)
        context = insert(sentence, context, depth, length - reserved, encode=encode, decode=decode)
    hidden = {city: (n, depth) for city, n, depth in zip(chosen, numbers, places, strict=True)}
    sample = Sample(context, length, hidden, tuple(draw.sample(chosen, asked)), seed)
    if lost := [city for city in chosen if needle.format(city=city, number=hidden[city][0]).strip() not in context]:
        raise ValueError(f"make: {length} tokens have no room for {needles} needles, {lost[0]} was cut off; give more")
    return sample


def insert(sentence: str, context: str, depth: float, room: int, *, encode: Encode, decode: Decode) -> str:
    """The context with a sentence in it, cut to ``room`` tokens: at ``depth`` %, moved back behind the last full stop.

    At 100 % it is put at the end; where no full stop stands before, at the beginning.

    Raises:
        ValueError: the sentence alone takes more room.
    """
    inside, tokens = encode(sentence), encode(context)
    if len(inside) > room:
        raise ValueError(f"insert: a needle of {len(inside)} tokens has no room in {room}; give a longer context")
    if len(tokens) + len(inside) > room:
        tokens = tokens[: room - len(inside)]
    if depth == 100:
        return decode(tokens + inside)
    stops, at = set(encode(".")), int(len(tokens) * (depth / 100))
    while at > 0 and tokens[at - 1] not in stops:
        at -= 1
    return decode(tokens[:at] + inside + tokens[at:])


def write(path: str | Path, samples: Sequence[Sample], responses: Sequence[str]) -> None:
    """A file of results as the authors' script leaves it, a JSON list."""
    rows = [
        {
            "context_length": sample.length,
            "needles_info": {city: list(what) for city, what in sample.needles.items()},
            "question": sample.question,
            "answer": sample.answers,
            "response": response,
            "correct": sample.correct(response),
            "seed": sample.seed,
        }
        for sample, response in zip(samples, responses, strict=True)
    ]
    Path(path).write_text(json.dumps(rows), encoding="utf-8")


def read(path: str | Path) -> tuple[list[Sample], list[str]]:
    """Samples, without their contexts, and responses of a file of results.

    Raises:
        ValueError: a row without its fields, or whose question and needles are not of one piece.
    """
    samples, responses = [], []
    for n, row in enumerate(json.loads(Path(path).read_text(encoding="utf-8"))):
        needed = ("context_length", "needles_info", "question", "answer", "response")
        if missing := [name for name in needed if name not in row]:
            raise ValueError(f"{path}, sample {n}: lacks {', '.join(missing)}")
        needles = {city: (str(number), float(depth)) for city, (number, depth) in row["needles_info"].items()}
        city_of = {number: city for city, (number, _) in needles.items()}
        if strange := [number for number in row["answer"] if number not in city_of]:
            raise ValueError(f"{path}, sample {n}: the answer {strange[0]} is the number of no needle")
        asked = tuple(city_of[number] for number in row["answer"])
        sample = Sample("", int(row["context_length"]), needles, asked, int(row.get("seed", 0)))
        if sample.question != row["question"]:
            raise ValueError(f"{path}, sample {n}: the question should be {sample.question!r}, is {row['question']!r}")
        samples.append(sample)
        responses.append(row["response"])
    return samples, responses
