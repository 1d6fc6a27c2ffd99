"""The simulated visual cortex answers as its tuning says."""

import pytest
import torch

from seefar.synthetic.visual_cortex import VisualCortex, dead_leaves

SIZE = (18, 32)


def cortex(**change):
    return VisualCortex(**({"units": 40, "size": SIZE, "seed": 3} | change))


def gratings(cell, angles, phases):
    """Pictures of waves at a cell's own frequency, (angles, phases, 1, H, W)."""
    y, x = torch.meshgrid(torch.arange(18.0), torch.arange(32.0), indexing="ij")
    x, y = x - cell["centre"][0], y - cell["centre"][1]
    along = x * angles.cos()[:, None, None] + y * angles.sin()[:, None, None]
    return torch.cos(2 * torch.pi * along[:, None] / cell["wavelength"] + phases[:, None, None])[:, :, None]


def cell(brain, n):
    return {"centre": brain.centres[n], "wavelength": float(brain.wavelength[n])}


def test_cells_prefer_their_orientation_and_complex_ones_do_not_mind_the_phase():
    brain = cortex()
    angles, phases = torch.arange(12) * torch.pi / 12, torch.arange(8) * torch.pi / 4
    inside = ((brain.centres - torch.tensor([15.5, 8.5])).abs() < torch.tensor([8.0, 3.0])).all(1)
    assert inside.sum() > 8
    for n in inside.nonzero()[:8, 0].tolist():
        waves = gratings(cell(brain, n), angles, phases)
        rates = brain.record(waves.flatten(0, 1), seed=0, moves=False)
        table = torch.zeros(96)
        table[rates.stimulus] = rates.rates[:, n]
        table = table.view(12, 8)
        best = angles[table.mean(1).argmax()]
        apart = (best - brain.orientation[n] + torch.pi / 2).remainder(torch.pi) - torch.pi / 2
        assert apart.abs() < 0.3, n
        row = table[table.mean(1).argmax()]
        modulation = (row.max() - row.min()) / row.max()
        assert (modulation < 0.35) == bool(brain.is_complex[n]), (n, modulation)


def test_a_spot_finds_the_receptive_field_and_the_eye_moves_it():
    brain = cortex(scatter=0.0)
    spots = torch.eye(18 * 32).view(-1, 1, *SIZE) * 10
    seen = brain.record(spots, seed=1, moves=False)
    rates = torch.zeros(576, 40)
    rates[seen.stimulus] = seen.rates
    weight = rates - 0.1
    places = torch.stack(torch.meshgrid(torch.arange(32.0), torch.arange(18.0), indexing="xy"), -1).view(-1, 2)
    found = (weight.T @ places) / weight.sum(0)[:, None]
    both = brain.is_complex  # a simple cell's answer to spots leans to its bright side
    assert (found - brain.centres)[both].abs().max() < 1.0
    moved = brain._as_seen(spots[[9 * 32 + 16]], torch.tensor([[3.0, -2.0]]))[0, 0]
    assert divmod(int(moved.argmax()), 32) == (11, 13)  # a field 3 to the right sees what lay 3 to the left of it


def test_contrast_around_a_cell_quiets_it():
    brain, picture = cortex(), dead_leaves(1, *SIZE, seed=8)
    y, x = torch.meshgrid(torch.arange(18.0), torch.arange(32.0), indexing="ij")
    n = int((brain.centres - torch.tensor([15.5, 8.5])).norm(dim=1).argmin())
    near = ((x - brain.centres[n, 0]) ** 2 + (y - brain.centres[n, 1]) ** 2).sqrt() < 3.5 * brain.width[n]
    around = torch.where(near, picture, 3 * dead_leaves(1, *SIZE, seed=9))
    rates = [float(brain.record(p, seed=0, moves=False).rates[0, n]) for p in (torch.where(near, picture, 0), around)]
    assert rates[1] < 0.8 * rates[0]


def test_rates_are_those_of_the_spikes_and_running_raises_them():
    brain, pictures = cortex(), dead_leaves(30, *SIZE, seed=4)
    trials = brain.record(pictures, repeats=100, seed=5)
    z = (trials.responses - trials.rates).sum(0) / trials.rates.sum(0).sqrt()
    assert z.abs().max() < 4 and z.square().mean().sqrt() < 1.5
    assert (trials.responses - trials.rates).square().sum() / trials.rates.sum() == pytest.approx(1, abs=0.05)
    fast = trials.behaviour[:, 2] > 1
    assert (trials.rates[fast].mean(0) > trials.rates[~fast].mean(0)).float().mean() > 0.9
    still = brain.record(pictures, repeats=5, seed=6, moves=False)
    spread = torch.stack([still.rates[still.stimulus == s].std(0) for s in range(30)])
    assert spread.max() == 0 and still.shift.abs().max() == 0


def test_pictures_have_edges_and_one_contrast():
    pictures = dead_leaves(50, *SIZE, seed=0)
    assert pictures.shape == (50, 1, *SIZE)
    torch.testing.assert_close(pictures.std((1, 2, 3)), torch.ones(50))
    steps = pictures.diff(dim=-1)
    assert (steps.abs() < 1e-6).float().mean() > 0.5  # flat inside a leaf
    kurtosis = (steps**4).mean() / (steps**2).mean() ** 2
    assert kurtosis > 6  # a normal has 3


def test_a_seed_decides_everything():
    one, same, other = (cortex(seed=s).record(dead_leaves(5, *SIZE, seed=s), seed=s) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one.responses, other.responses)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="units=0"):
        cortex(units=0)
    with pytest.raises(ValueError, match=r"must be \(P, 1, 18, 32\)"):
        cortex().record(torch.rand(3, 1, 18, 30), seed=0)
    with pytest.raises(ValueError, match="leaves=0"):
        dead_leaves(2, 8, 8, seed=0, leaves=0)
