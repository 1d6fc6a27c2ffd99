"""Readouts of states: a line finds a line and no more, an MLP more; what is drawn stays drawn."""

import math

import torch

from seefar.evals.coding import (
    as_drawn,
    by_sequence,
    by_token,
    condition,
    explains,
    linear_reader,
    mlp_reader,
    recovery,
)
from seefar.mixers.lru import ring
from seefar.papers._card import Scale

SMOKE = Scale("smoke", (0,))


def test_what_is_lost_falls_with_the_ring_and_is_nearly_all_for_real_eigenvalues():
    near = recovery(lambda count: ring(count, (0.99, 1 - 1e-9), 2 * math.pi))(0)
    real = recovery(lambda count: torch.rand(count, dtype=torch.float64))(0)
    assert near(32) < 1e-5 < 0.3 < real(32) < 1.1
    assert condition(lambda count: ring(count, (0.99, 1 - 1e-9), 2 * math.pi))(0)(32) < 10


def test_a_line_explains_a_linear_map_and_not_a_square():
    def sample(count, seed):
        codes = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed))
        return codes, codes @ torch.tensor([[1.0], [2.0], [-1.0]]) + 5

    def squares(count, seed):
        codes, _ = sample(count, seed)
        return codes, codes[:, :1] ** 2

    assert explains(sample, linear_reader, train=20, test=50)(0)(None) > 1 - 1e-6
    assert explains(squares, linear_reader, train=500, test=500)(0)(None) < 0.1
    mlp = mlp_reader(SMOKE, hidden=(16,), steps=200, batch=64, lr=1e-2)
    assert explains(squares, mlp, train=500, test=500)(0)(None) > 0.8


def test_the_best_line_on_states_recalls_a_token_of_the_past():
    def earlier(count, length, seed):
        x = torch.randn(count, length, 1, generator=torch.Generator().manual_seed(seed))
        return x, x.roll(3, 1) * (torch.arange(length) >= 3)[:, None]

    recalls = [
        explains(by_token(as_drawn(8, radius, 2 * math.pi), earlier, 16), linear_reader, train=60, test=20)(0)(None)
        for radius in ((0.8, 0.95), (1e-4, 1e-3))
    ]
    assert recalls[0] > 0.99 and recalls[1] < 0.2


def test_one_recurrence_codes_all_samples_and_the_last_state_restores_a_dictionary():
    build = as_drawn(8, (0.9, 0.99), 2 * math.pi)
    first = build().nu
    torch.manual_seed(5)
    assert torch.equal(first, build().nu)
    codes, wanted = by_sequence(build, 20, 3)(7, 0)
    assert codes.shape == (7, 16) and wanted.shape == (7, 20)
    assert explains(by_sequence(build, 20, 3), linear_reader, train=20, test=10)(0)(None) > 0.999
