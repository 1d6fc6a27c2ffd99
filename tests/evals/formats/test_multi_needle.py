"""Needles stand where the authors' script puts them, questions and scores are theirs, to the letter."""

import json

import pytest

from seefar.evals.formats.multi_needle import CITIES, Sample, insert, make, read, score, write

CHARACTERS = {"encode": lambda text: [ord(c) for c in text], "decode": lambda ids: "".join(map(chr, ids))}
TEXT = "It rained. The cat slept on. Nobody came by. " * 40


def made(**changes):
    how = {"needles": 3, "asked": 2, "depths": [0, 25, 50, 75, 100], **CHARACTERS, "seed": 4}
    return make(TEXT, 1000, **how | changes)


@pytest.mark.parametrize(
    ("depth", "want"),
    [
        (0, "[X]It rained. The cat."),
        (50, "[X]It rained. The cat."),  # 9 of 19 characters, no full stop before
        (60, "It rained.[X] The cat."),
        (90, "It rained.[X] The cat."),
        (100, "It rained. The cat.[X]"),
    ],
)
def test_a_needle_goes_to_its_depth_and_back_behind_the_last_full_stop(depth, want):
    assert insert("[X]", "It rained. The cat.", depth, 100, **CHARACTERS) == want


def test_the_context_is_cut_so_that_the_needle_has_room():
    got = insert("[X]", "It rained. The cat.", 100, 13, **CHARACTERS)
    assert got == "It rained.[X]"
    with pytest.raises(ValueError, match="a needle of 3 tokens has no room in 2"):
        insert("[X]", "It rained.", 50, 2, **CHARACTERS)


def test_a_sample_holds_its_needles_at_their_depths_and_asks_for_some():
    sample = made()
    assert len(sample.context) <= 800 and len(sample.needles) == 3 and len(sample.asked) == 2
    assert set(sample.asked) < set(sample.needles) <= set(CITIES)
    for city, (number, depth) in sample.needles.items():
        sentence = f"\nThe special magic {city} number is: {number}\n"
        at = sample.context.index(sentence)
        assert len(number) == 7 and number[0] != "0"
        assert at == 0 or sample.context[at - 1] in ".\n" or depth == 100  # cut wherever the room ends
        assert abs(at / len(sample.context) - depth / 100) < 0.2  # later needles push earlier ones
    assert made() == sample and made(seed=5) != sample
    assert all(len(made(digits=1, seed=seed).answers[0]) == 1 for seed in range(20))


def test_questions_and_prompts_are_those_of_the_paper():
    needles = {"Paris": ("1234567", 0.0), "Oslo": ("7654321", 50.0), "Lima": ("1111111", 100.0)}
    three = Sample("TEXT", 9, needles, ("Oslo", "Paris", "Lima"))
    assert three.question == "What are the special magic numbers for Oslo, Paris, and Lima?"
    assert Sample("TEXT", 9, needles, ("Oslo", "Lima")).question == (
        "What are the special magic numbers for Oslo, and Lima?"
    )
    one = Sample("TEXT", 9, needles, ("Oslo",))
    assert one.prompt == (
        "You are a helpful assistant. USER: TEXT What is the special magic number for Oslo? Don't give information "
        "outside the document. ASSISTANT: "
    )


FILE = [
    {
        "context_length": 1000,
        "needles_info": {"Paris": ["1234567", 25], "Oslo": ["7654321", 75], "Lima": ["1111111", 0]},
        "question": "What are the special magic numbers for Oslo, and Paris?",
        "answer": ["7654321", "1234567"],
        "response": "Oslo has 7654321 and Paris 123456.",
        "correct": [True, False],
        "seed": 0,
    },
    {
        "context_length": 32000,
        "needles_info": {"Cairo": ["2222222", 50]},
        "question": "What is the special magic number for Cairo?",
        "answer": ["2222222"],
        "response": "x2222222y",
        "correct": [True],
        "seed": 1,
    },
]


def test_a_hand_made_file_is_read_scored_and_written_back(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(FILE))
    samples, responses = read(path)
    assert [sample.asked for sample in samples] == [("Oslo", "Paris"), ("Cairo",)]
    marks = [sample.correct(said) for sample, said in zip(samples, responses, strict=True)]
    assert marks == [row["correct"] for row in FILE]
    assert score(samples, responses) == pytest.approx(2 / 3)
    write(tmp_path / "again.json", samples, responses)
    assert json.loads((tmp_path / "again.json").read_text()) == FILE


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"question": "What is it?"}, "the question should be 'What are the special"),
        ({"answer": ["5"]}, "the answer 5 is the number of no needle"),
        ({"needles_info": None}, "lacks needles_info"),
    ],
)
def test_a_file_that_does_not_fit_together_is_refused(tmp_path, changes, message):
    row = {key: value for key, value in (FILE[0] | changes).items() if value is not None}
    (tmp_path / "bad.json").write_text(json.dumps([row]))
    with pytest.raises(ValueError, match=message):
        read(tmp_path / "bad.json")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"asked": 4}, "1 <= asked <= needles"),
        ({"depths": [0, 50]}, "2 depths"),
        ({"depths": [0, 50, 101]}, "0 to 100"),
        ({"reserved": 930, "needle": "{city} has {number}, as all the world knows. "}, "was cut off|no room"),
    ],
)
def test_a_sample_that_cannot_be_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        made(**changes)


def test_a_score_needs_a_response_for_each_sample():
    with pytest.raises(ValueError, match="got 1 and 0"):
        score([made()], [])
