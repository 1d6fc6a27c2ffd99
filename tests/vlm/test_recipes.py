import pytest
import torch

from seefar.sequence import VisualSequence
from seefar.testing import check_compressor
from seefar.vlm.recipes import RECIPES, Identity, recipe


def film(steps=12, rows=3, columns=4, batch=2):
    torch.manual_seed(0)
    return VisualSequence.of_grid(torch.randn(batch, steps, rows, columns, 8), torch.arange(steps).double() / 3)


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "identity"])
def test_each_recipe_obeys_the_law_of_compressors(name):
    how = recipe(name)
    budgets = (12, 13, 50, 100, 10_000) if how.whole_frames else (1, 2, 13, 50, 10_000)
    query = torch.randn(2, 3, 8)
    check_compressor(how.make(), film(), query=query, budgets=budgets, conserves_mass=name in ("merge", "pool"))


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("budget", [12, 13, 25, 70, 143, 144, 500])
def test_the_plan_of_a_recipe_has_its_number_of_tokens_without_its_features(name, budget):
    how, seq = recipe(name), film(batch=1)
    if name == "identity" and budget < 144:
        return
    blind = VisualSequence.of_grid(torch.zeros(1, 12, 3, 4, 1), torch.arange(12).double() / 3)
    told = how.plan(blind, budget)
    real = how.make()(seq, budget, query=torch.randn(1, 2, 8))
    assert int(told.count[0]) == int(real.count[0])
    assert len(told.span[0, :, 0].unique()) >= len(real.span[0, :, 0].unique())


def test_identity_leaves_nothing_out_silently():
    seq = film()
    assert Identity()(seq, 144) is seq
    with pytest.raises(ValueError, match=r"144 tokens do not fit a budget of 143.*novelty"):
        Identity()(seq, 143)


def test_an_unknown_recipe_lists_those_there_are():
    with pytest.raises(ValueError, match=r"'best'. There are: identity, uniform, novelty, merge, pool, relevance"):
        recipe("best")
    assert recipe(None).name == "identity"
