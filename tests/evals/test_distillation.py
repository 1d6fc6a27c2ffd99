"""The measures of distillation: known answers for each."""

import math

import torch

from seefar.backbones import SequenceModel
from seefar.evals import distillation
from seefar.evals.protocols import sweep
from seefar.mixers import column
from seefar.mixers.hyena import Hyena
from seefar.papers._card import Scale
from seefar.synthetic.handwriting import LEVELS

ONE = Scale("smoke", (0,))


def model():
    return SequenceModel(column("Y", 4, Y=lambda: Hyena(4, length=64)), 4, LEVELS, words=LEVELS)


def test_nothing_changed_is_no_change_and_all_forgotten_is_one():
    trained = distillation.taught(model, ONE, steps=1, pictures=1, batch=2)
    assert trained(0) is trained(0) and trained(0) is not trained(1)

    def blank(net, _):
        empty = model()
        torch.nn.init.zeros_(empty.head.weight)
        torch.nn.init.zeros_(empty.head.bias)
        return empty

    ways = {"same": lambda net, size: net, "blank": blank}
    arms = {name: distillation.perplexity_change(trained, way, pictures=1, texts=4) for name, way in ways.items()}
    change = sweep("change", arms, [1], ONE)
    before = sweep("before", {"it": distillation.perplexity(trained, pictures=1, texts=4)}, [1], ONE)["it"][1].mean
    assert change["same"][1].mean == 0
    assert math.isclose(change["blank"][1].mean, LEVELS / before - 1, rel_tol=1e-5)
    off = sweep("off", {n: distillation.logit_error(trained, w, pictures=1) for n, w in ways.items()}, [1], ONE)
    assert off["same"][1].mean == 0 and math.isclose(off["blank"][1].mean, 1, rel_tol=1e-5)


def test_a_filter_that_is_cut_reaches_no_further_than_its_taps():
    torch.manual_seed(0)
    layer, x = Hyena(4, length=64, short=1), torch.randn(1, 20, 4)
    later = x.clone()
    later[:, 0] += 1
    five = distillation.cut(layer, 5)
    moved = (five(later)[0] - five(x)[0]).abs().amax((0, 2))
    assert moved[:5].min() > 1e-3 and moved[5:].max() < 1e-5
    torch.testing.assert_close(distillation.cut(layer, 20)(x)[0], layer(x)[0])
    cut, state = distillation.cut(layer, 5), None
    outs = []
    for token in x.split(1, 1):
        out, state = cut(token, state)
        outs.append(out)
    torch.testing.assert_close(torch.cat(outs, 1), cut(x)[0])


def test_each_call_writes_the_same_after_its_context():
    for prompt in (False, True):
        call = distillation.writing(model, batch=2, tokens=3, prompt=prompt)(10)
        assert call().shape == (2, 1, LEVELS) and torch.equal(call(), call())
