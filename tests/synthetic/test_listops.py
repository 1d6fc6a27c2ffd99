import itertools
import statistics

import pytest

from seefar.synthetic.listops import OPERATORS, listops, write_listops


def evaluate(source):
    """Another way than the generator's: a stack over words, brackets ignored."""
    stack = []
    for word in source.replace("(", " ").replace(")", " ").split():
        if word != "]":
            stack.append(int(word) if word.isdigit() else word)
            continue
        arguments = []
        while isinstance(stack[-1], int):
            arguments.append(stack.pop())
        assert len(arguments) >= 2
        rule = {
            "[MIN": min,
            "[MAX": max,
            "[MED": lambda values: int(statistics.median(values)),
            "[SM": lambda values: sum(values) % 10,
        }
        stack.append(rule[stack.pop()](arguments))
    (value,) = stack
    return value


def test_values_are_those_of_an_independent_evaluator():
    samples = listops(300, length=(10, 200), depth=4, seed=1)
    assert all(evaluate(source) == value for source, value in samples)
    assert all(any(operator in source for source, _ in samples) for operator in OPERATORS)
    assert len({value for _, value in samples}) == 10


def test_lengths_lie_within_and_brackets_do_not_count():
    for source, _ in listops(100, length=(50, 200), depth=4, seed=2):
        words = [word for word in source.split() if word not in "()"]
        assert 50 < len(words) < 200
        assert source.count("(") == source.count(")") == len(words) - 1


def test_no_list_is_deeper_than_asked():
    deepest = []
    for source, _ in listops(200, length=(3, 60), depth=3, arguments=3, seed=3):
        levels = itertools.accumulate(word.startswith("[") - (word == "]") for word in source.split())
        deepest.append(max(levels))
    assert max(deepest) == 2


def test_the_seed_decides_everything_and_all_differ():
    one, again, other = (listops(50, length=(5, 50), depth=3, seed=seed) for seed in (4, 4, 5))
    assert one == again != other
    assert len({source for source, _ in one}) == 50


def test_a_file_is_headed_as_published(tmp_path):
    samples = listops(3, length=(5, 50), depth=3, seed=6)
    write_listops(tmp_path / "basic_val.tsv", samples)
    lines = (tmp_path / "basic_val.tsv").read_text().splitlines()
    assert lines[0] == "Source\tTarget"
    assert lines[1:] == [f"{source}\t{value}" for source, value in samples]


def test_sizes_that_allow_nothing_are_refused():
    with pytest.raises(ValueError, match="arguments >= 2"):
        listops(1, arguments=1, seed=0)
    with pytest.raises(ValueError, match="none of 1000 expressions"):
        listops(1, length=(500, 600), depth=2, seed=0)
