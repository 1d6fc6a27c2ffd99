"""Measures of predicted activity: the published formulas, and what a perfect prediction gets."""

import numpy as np
import pytest
import torch

from seefar.brain import ConvCore, NeuralEncoder, Recording
from seefar.evals.neural import (
    correlation,
    correlation_to_average,
    encoding_scores,
    fev_feve,
    follows_the_eye,
    simulated_animals,
)
from seefar.synthetic.visual_cortex import VisualCortex, dead_leaves


def random_trials():
    torch.manual_seed(0)
    stimulus = torch.tensor([3, 1, 3, 1, 1, 7, 7, 3, 7, 7])
    responses = torch.rand(10, 4).double() + stimulus[:, None] * torch.rand(4)
    return responses, responses + torch.rand(10, 4), stimulus


def published(responses, rates, stimulus):
    """FEV and FEVE as the Sensorium code computes them."""
    targets, predictions = ([part[stimulus == s].numpy() for s in stimulus.unique()] for part in (responses, rates))
    errors = np.vstack([(a - b) ** 2 for a, b in zip(targets, predictions, strict=True)])
    noise = np.mean(np.vstack([np.var(a, axis=0, ddof=1) for a in targets]), axis=0)
    total = np.var(np.vstack(targets), axis=0, ddof=1)
    return (total - noise) / total, 1 - (errors.mean(axis=0) - noise) / (total - noise)


def test_they_are_the_published_formulas():
    responses, rates, stimulus = random_trials()
    for got, wanted in zip(fev_feve(responses, rates, stimulus), published(responses, rates, stimulus), strict=True):
        np.testing.assert_allclose(got.numpy(), wanted, rtol=1e-12)
    columns = [np.corrcoef(responses[:, n], rates[:, n])[0, 1] for n in range(4)]
    np.testing.assert_allclose(correlation(responses, rates).numpy(), columns, rtol=1e-12)
    means = [torch.stack([part[stimulus == s].mean(0) for s in (1, 3, 7)]) for part in (responses, rates)]
    assert torch.equal(correlation_to_average(responses, rates, stimulus), correlation(*means))


def test_true_rates_explain_all_and_the_mean_explains_nothing():
    cortex = VisualCortex(60, (16, 24), seed=1)
    trials = cortex.record(dead_leaves(200, 16, 24, seed=2), repeats=40, seed=3, moves=False)
    fev, feve = fev_feve(trials.responses, trials.rates, trials.stimulus)
    good = fev >= 0.15
    assert good.float().mean() > 0.8
    assert feve[good].mean() == pytest.approx(1, abs=0.02)
    mean = trials.responses.mean(0).expand_as(trials.rates)
    assert fev_feve(trials.responses, mean, trials.stimulus)[1][good].mean() == pytest.approx(0, abs=0.02)
    assert correlation(trials.responses, mean).abs().max() == 0


def test_an_encoder_is_scored_over_its_animals():
    encoder, tests = NeuralEncoder(ConvCore(4), {"a": torch.rand(5, 2)}, shift=False).eval(), {}
    cortex = VisualCortex(5, (9, 12), seed=1)
    tests["a"] = Recording(*cortex.record(dead_leaves(8, 9, 12, seed=1), repeats=4, seed=2)[:5])
    scores = encoding_scores(encoder, tests)
    assert set(scores) == {"to average", "single trial", "feve"} and all(np.isfinite(list(scores.values())))


def test_animals_share_their_test_and_nothing_else():
    world = simulated_animals(4, count=2, units=6, size=(10, 14), pictures=5, tests=3, repeats=2)
    a, b = world.train.values()
    assert not torch.equal(a.pictures, b.pictures) and len(a) == 5
    for side in (world.test, world.still):
        by_number = [one.pictures[one.stimulus.argsort()] for one in side.values()]
        assert torch.equal(*by_number) and len(by_number[0]) == 6
    assert not torch.equal(*[one.responses for one in world.test.values()])
    rest = world.still["animal 1"]
    assert rest.pupil.abs().max() == 0 and rest.behaviour.abs().max() == 0
    torch.testing.assert_close(world.truth["animal 0"].shift, world.test["animal 0"].pupil * torch.tensor([2.0, 1.0]))
    again = simulated_animals(4, count=2, units=6, size=(10, 14), pictures=5, tests=3, repeats=2)
    assert torch.equal(again.train["animal 1"].responses, b.responses)


def test_a_core_without_attention_has_no_look_to_follow():
    with pytest.raises(ValueError, match="needs an AttentionCore"):
        follows_the_eye(NeuralEncoder(ConvCore(4), {"a": torch.rand(5, 2)}), "a", None)


def test_what_cannot_be_scored_is_refused():
    responses, rates, stimulus = random_trials()
    with pytest.raises(ValueError, match="1 of 4 pictures were shown once"):
        fev_feve(responses, rates, torch.cat([torch.tensor([9]), stimulus[1:]]))
    with pytest.raises(ValueError, match=r"must be \(10,\)"):
        correlation_to_average(responses, rates, stimulus[:9])
    with pytest.raises(ValueError, match=r"\(10, 4\) and \(9, 4\)"):
        correlation(responses, rates[:9])
