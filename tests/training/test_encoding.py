"""Training on several animals: the published loss, and fields that are found where they were planted."""

import math

import pytest
import torch

from seefar.brain import ConvCore, NeuralEncoder, Recording
from seefar.evals.neural import correlation
from seefar.synthetic.visual_cortex import VisualCortex, dead_leaves
from seefar.training.encoding import fit_encoder, poisson, predict

SIZE = (12, 20)


def animals(count=40, units=30):
    cortices = {name: VisualCortex(units, SIZE, seed=seed, scatter=0.0) for seed, name in enumerate("ab")}
    shown = dead_leaves(count, *SIZE, seed=7)
    return cortices, {name: Recording(*one.record(shown, seed=1)[:5]) for name, one in cortices.items()}


def encoder(cortices, dim=8):
    torch.manual_seed(0)
    core = ConvCore(dim, layers=2, kernels=(5, 3), behaviours=5)
    return NeuralEncoder(core, {name: one.xy for name, one in cortices.items()})


def test_the_loss_is_least_at_the_true_rates():
    counts = torch.tensor([[0.0, 2.0, 5.0]]).double()
    rates = torch.tensor([[0.1, 2.0, 5.0]]).double().requires_grad_()
    poisson(rates, counts).backward()
    torch.testing.assert_close(rates.grad, torch.tensor([[1.0, 0.0, 0.0]]).double(), rtol=0, atol=1e-4)
    truth = -torch.distributions.Poisson(rates.detach()).log_prob(counts).sum()
    constant = torch.lgamma(counts + 1).sum()
    assert float(poisson(rates.detach(), counts) + constant) == pytest.approx(float(truth), abs=1e-4)


def test_the_first_step_logs_the_published_sum():
    cortices, recordings = animals()
    model = encoder(cortices)
    twin = encoder(cortices)
    log = fit_encoder(model, recordings, steps=1, seed=0, batch=40, l1_core=0.5, l1_readout=0.25)
    torch.manual_seed(0)  # fit seeds the readouts' noise by the step
    core = sum(float(p.detach().abs().sum()) for p in twin.core.parameters())
    order = torch.Generator().manual_seed(0)
    shuffled = {n: r.take(torch.randperm(40, generator=order)) for n, r in recordings.items()}
    joined = [torch.cat([getattr(r, part) for r in shuffled.values()]) for part in ("pictures", "behaviour", "pupil")]
    features, wanted = twin.train().features(*joined).split(40), 2 * 0.5 * core
    for (name, one), seen in zip(shuffled.items(), features, strict=True):
        wanted += math.sqrt(40 / 40) * float(poisson(twin.read(name, seen, one.pupil), one.responses).detach())
        wanted += 0.25 * float(twin.readouts[name].weight.detach().abs().sum())
    assert log[0]["loss"] == pytest.approx(wanted, rel=1e-5)


def test_planted_fields_are_found():
    cortices, recordings = animals(count=600, units=60)
    model = encoder(cortices)
    fit_encoder(model, recordings, steps=120, seed=0, batch=12, lr=1e-2, l1_core=0.0)
    for name, one in cortices.items():
        assert correlation(model.readout(name).centres.detach(), one.centres).min() > 0.9
    fresh = {n: one.record(dead_leaves(60, *SIZE, seed=8), seed=9) for n, one in cortices.items()}
    rates = predict(model, "a", Recording(*fresh["a"][:5]), batch=7)
    assert correlation(rates, fresh["a"].rates).mean() > 0.3


def test_a_seed_decides_the_trials():
    cortices, recordings = animals()
    logs = [fit_encoder(encoder(cortices), recordings, steps=2, seed=s, batch=4)[-1]["loss"] for s in (1, 1, 2)]
    assert logs[0] == logs[1] != logs[2]


def test_recordings_that_do_not_fit_are_refused():
    cortices, recordings = animals()
    model = encoder(cortices)
    with pytest.raises(ValueError, match=r"readouts for \['a', 'b'\], got recordings \['a'\]"):
        fit_encoder(model, {"a": recordings["a"]}, steps=1, seed=0)
    with pytest.raises(ValueError, match=r"a batch of 41 needs as many trials, got \{'a': 40, 'b': 40\}"):
        fit_encoder(model, recordings, steps=1, seed=0, batch=41)
    blind = Recording(*(vars(recordings["b"])[part] for part in ("pictures", "stimulus", "responses")))
    with pytest.raises(ValueError, match="b has no behaviour"):
        fit_encoder(model, recordings | {"b": blind}, steps=1, seed=0, batch=4)
