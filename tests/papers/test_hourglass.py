"""Hourglass: its file keeps its shape, what it builds tells the next token from earlier ones alone, and streams."""

import pytest
import torch

from seefar.evals.flops import matrix_flops
from seefar.mixers import Hourglass
from seefar.papers import hourglass as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def small(hierarchy="1@1 2@2 1@4 2@2 1@1", **options):
    torch.manual_seed(0)
    return paper.build(hierarchy, 8, words=11, heads=2, **options).double()


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


@pytest.mark.parametrize("look", [True, False])
def test_no_logit_moves_with_the_token_it_predicts_or_a_later_one(look):
    model, tokens = small(look=look), torch.randint(11, (1, 13))
    given = torch.cat([torch.tensor([[11]]), tokens[:, :-1]], 1)  # what stands before each
    before = model(given)[0]
    for t in range(13):
        changed = tokens.clone()
        changed[:, t:] = (changed[:, t:] + 1) % 11
        after = model(torch.cat([torch.tensor([[11]]), changed[:, :-1]], 1))[0]
        torch.testing.assert_close(after[:, : t + 1], before[:, : t + 1], rtol=0, atol=1e-12)
        assert t == 12 or not torch.allclose(after[:, t + 1], before[:, t + 1])


def test_words_one_by_one_and_a_prompt_shorter_than_a_group_give_the_same_logits():
    model, ids, state, rows = small(), torch.randint(11, (2, 11)), None, []
    for piece in (ids[:, :3], ids[:, 3:4], *ids[:, 4:].split(1, 1)):
        logits, state = model(piece, state)
        rows.append(logits)
    torch.testing.assert_close(torch.cat(rows, 1), model(ids)[0], rtol=1e-10, atol=1e-10)


def test_the_arms_of_the_claim_are_of_equal_arithmetic_and_the_recipe_looks_up():
    x = torch.randint(16, (1, 256))
    flat, short = (paper.build(shape, 32, words=16, heads=2, look=False) for shape in (paper.FLAT, paper.SHORT))
    assert 0.95 <= matrix_flops(lambda: short(x)) / matrix_flops(lambda: flat(x)) <= 1
    published = paper.build("2@1 4@3 2@1", 16, words=16, heads=2)
    (valley,) = (part for part in published.modules() if isinstance(part, Hourglass))
    assert valley.factor == 3 and valley.look_up is not None and valley.look_down is None
