"""The one training loop: it learns, it resumes bit for bit, and what it writes can be read."""

import json
from itertools import pairwise

import pytest
import torch
from torch import nn

from seefar.training.fit import cosine, fit


def student():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))


def batch(step):
    x = torch.randn(32, 4, generator=torch.Generator().manual_seed(1000 + step))
    return x, x.prod(1, keepdim=True).tanh() + x[:, :1]


def squares(model, data):
    error = (model(data[0]) - data[1]).square().mean()
    return error, {"root": float(error.detach()) ** 0.5}


def steady(step, steps):
    return 1.0


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def figures(log):
    """The log without the time it took."""
    return [{key: value for key, value in entry.items() if key != "seconds"} for entry in log]


def test_the_loss_falls():
    log = fit(student(), batch, squares, steps=200, lr=1e-2)
    first, last = (sum(entry["loss"] for entry in part) / 20 for part in (log[:20], log[-20:]))
    assert last < 0.35 * first and [entry["step"] for entry in log] == list(range(200))
    assert all(entry["root"] == pytest.approx(entry["loss"] ** 0.5) for entry in log)


def test_the_same_start_gives_the_same_weights_whatever_the_random_state():
    a, b, c = student(), student(), student()
    torch.manual_seed(1)
    log_a = fit(a, batch, squares, steps=30)
    torch.manual_seed(2)
    log_b = fit(b, batch, squares, steps=30)
    assert same(a, b) and figures(log_a) == figures(log_b)
    fit(c, lambda step: batch(step + 1), squares, steps=30)
    assert not same(a, c)


class Stop(Exception):
    pass


@pytest.mark.parametrize("stopped_at", [0, 7, 10, 19])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(tmp_path, stopped_at):
    whole = student()
    log = fit(whole, batch, squares, steps=25, folder=tmp_path / "whole", save_every=5)

    def interrupted(step):
        if step == stopped_at:
            raise Stop
        return batch(step)

    with pytest.raises(Stop):
        fit(student(), interrupted, squares, steps=25, folder=tmp_path / "parts", save_every=5)
    asked = []
    other = nn.Sequential(*student())
    nn.init.zeros_(other[0].weight)  # weights come from the checkpoint, where there is one
    resumed = student() if stopped_at < 5 else other
    again = fit(
        resumed,
        lambda step: (asked.append(step), batch(step))[1],
        squares,
        steps=25,
        folder=tmp_path / "parts",
        save_every=5,
    )
    assert asked == list(range(stopped_at // 5 * 5, 25)), "what was saved is not trained again"
    assert same(whole, resumed) and figures(log) == figures(again)
    written = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    read = [figures(map(json.loads, text.splitlines())) for text in written]
    assert read[0] == read[1] == figures(log)


def test_a_finished_run_is_not_trained_again(tmp_path):
    model = student()
    log = fit(model, batch, squares, steps=6, folder=tmp_path)
    again = student()
    assert fit(again, None, None, steps=6, folder=tmp_path) == log and same(model, again)
    assert not (tmp_path / "checkpoint.new").exists()


def test_clipping_bounds_the_gradient_that_the_optimizer_sees():
    torch.manual_seed(0)
    seen = []

    def watch(clip):
        model = nn.Linear(4, 1)

        def loss(model, data):
            grads = [p.grad for p in model.parameters()]
            if grads[0] is not None:  # what the step before used: grads stay until this step clears them
                seen.append(float(torch.cat([g.flatten() for g in grads]).norm()))
            return 1000 * squares(model, data)[0], {}

        return fit(model, batch, loss, steps=5, clip=clip)

    log = watch(0.5)
    assert all(entry["norm"] > 100 for entry in log), "the norm is logged as it was before clipping"
    assert len(seen) == 4 and all(norm == pytest.approx(0.5, rel=1e-4) for norm in seen)
    seen.clear()
    log = watch(1e9)
    assert seen == pytest.approx([entry["norm"] for entry in log[:-1]], rel=1e-5)


def test_matrices_decay_and_vectors_do_not():
    model = nn.Linear(3, 3)
    nn.init.ones_(model.weight), nn.init.ones_(model.bias)

    def flat(model, data):
        return sum(p.sum() * 0 for p in model.parameters()), {}

    fit(model, batch, flat, steps=10, lr=0.1, weight_decay=0.5, schedule=steady)
    torch.testing.assert_close(model.weight, torch.full((3, 3), (1 - 0.1 * 0.5) ** 10))
    assert (model.bias == 1).all()


def test_a_matrix_that_asks_for_no_decay_is_not_decayed():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight._no_weight_decay = True
    nn.init.ones_(model[0].weight), nn.init.ones_(model[1].weight)

    def flat(model, data):
        return sum(p.sum() * 0 for p in model.parameters()), {}

    fit(model, batch, flat, steps=10, lr=0.1, weight_decay=0.5, schedule=steady)
    assert (model[0].weight < 0.7).all() and (model[1].weight == 1).all()


def test_frozen_weights_stay():
    model = student()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    fit(model, batch, squares, steps=5)
    assert torch.equal(model[0].weight, before)


def test_the_schedule_rises_then_falls_to_its_floor():
    rates = [cosine(step, 1000, warmup=100, floor=0.1) for step in range(1001)]
    assert rates[0] == 0.01 and rates[99] == rates[100] == 1.0 and rates[1000] == pytest.approx(0.1)
    assert rates[550] == pytest.approx(0.55)
    assert all(a < b for a, b in pairwise(rates[:100]))
    assert all(a > b for a, b in pairwise(rates[100:]))


def test_the_rate_of_each_step_is_the_scheduled_one():
    model = nn.Linear(1, 1, bias=False)
    weights = [float(model.weight.detach())]

    def slope(model, data):
        return model.weight.sum(), {}

    def note(stage, done, total):
        weights.append(float(model.weight.detach()))

    fit(model, batch, slope, steps=4, lr=0.1, weight_decay=0, schedule=lambda s, n: (s + 1) / n, progress=note)
    moved = [a - b for a, b in pairwise(weights)]  # a constant slope: Adam moves by lr each step
    assert moved == pytest.approx([0.025, 0.05, 0.075, 0.1], rel=1e-3)


def test_a_loss_that_is_no_number_stops_with_its_step_and_keeps_the_last_checkpoint(tmp_path):
    calls = []

    def loss(model, data):
        calls.append(1)
        value, logged = squares(model, data)
        return (value / 0 if len(calls) == 8 else value), logged

    with pytest.raises(FloatingPointError, match="inf at step 7; lower lr"):
        fit(student(), batch, loss, steps=20, folder=tmp_path, save_every=5)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 5


def test_progress_is_told_and_the_model_is_left_ready_to_use():
    told, model = [], student()
    fit(model, batch, squares, steps=3, progress=lambda *what: told.append(what))
    assert told == [("train", 1, 3), ("train", 2, 3), ("train", 3, 3)] and not model.training
