"""Encoder, shifter and recording: one core for all animals, a readout that follows the eye of each."""

import pytest
import torch

from seefar.brain import ConvCore, NeuralEncoder, Recording, Shifter


def encoder(shift=True):
    torch.manual_seed(0)
    xy = {"a": torch.rand(4, 2), "b": torch.rand(6, 2)}
    return NeuralEncoder(ConvCore(4, kernels=(3, 3), behaviours=5), xy, shift=shift).eval()


def trials():
    torch.manual_seed(1)
    return torch.randn(3, 1, 8, 10), torch.rand(3, 3), torch.randn(3, 2)


def recording(**change):
    pictures, behaviour, pupil = trials()
    parts = {"pictures": pictures, "stimulus": torch.arange(3), "responses": torch.rand(3, 4)}
    return Recording(**(parts | {"behaviour": behaviour, "pupil": pupil} | change))


def test_every_animal_has_its_cells_and_rates_are_positive():
    rates = {name: encoder()(name, *trials()) for name in ("a", "b")}
    assert {name: tuple(part.shape) for name, part in rates.items()} == {"a": (3, 4), "b": (3, 6)}
    assert all((part > 0).all() for part in rates.values())


def test_the_readout_follows_the_eye_and_the_core_sees_the_pupil():
    model, (pictures, behaviour, pupil) = encoder(), trials()
    features = model.features(pictures, behaviour, pupil)
    shift = model.shift("a", pupil)
    wanted = torch.nn.functional.elu(model.readouts["a"](features, shift)) + 1
    assert torch.equal(model("a", pictures, behaviour, pupil), wanted)
    assert not torch.equal(model.read("a", features, pupil), model.read("a", features, -pupil))
    assert not torch.equal(features, model.features(pictures, behaviour, -pupil))
    assert encoder(shift=False).shift("a", pupil) is None


def test_the_shifter_has_the_published_layers():
    layers = Shifter().layers
    assert [tuple(part.weight.shape) for part in layers if hasattr(part, "weight")] == [(5, 2), (5, 5), (2, 5)]
    assert Shifter()(50 * torch.randn(9, 2)).abs().max() <= 1
    with pytest.raises(ValueError, match="must be positive"):
        Shifter(0)


def test_what_is_missing_or_unknown_is_refused():
    pictures, behaviour, pupil = trials()
    with pytest.raises(ValueError, match="knows a, b, got 'c'"):
        encoder()("c", pictures, behaviour, pupil)
    with pytest.raises(ValueError, match="a has no pupil"):
        encoder()("a", pictures, torch.cat([behaviour, pupil], 1))
    with pytest.raises(ValueError, match=r"was built for behaviour \(B, 5\)"):
        encoder()("a", pictures, None, pupil)
    with pytest.raises(ValueError, match="needs an animal"):
        NeuralEncoder(ConvCore(4), {})


def test_a_recording_keeps_its_trials_together():
    some = recording().take(torch.tensor([2, 0]))
    assert len(some) == 2 and some.units == 4 and some.stimulus.tolist() == [2, 0]
    assert recording(behaviour=None).take(torch.tensor([True, False, False])).behaviour is None


@pytest.mark.parametrize(
    "change, message",
    [
        ({"responses": torch.full((3, 4), float("nan"))}, "withheld"),
        ({"responses": -torch.ones(3, 4)}, "not negative"),
        ({"responses": torch.rand(2, 4)}, "one row for each trial"),
        ({"pupil": torch.rand(3, 3)}, r"pupil must be \(T, 2\)"),
        ({"pictures": torch.rand(3, 8, 10)}, r"pictures \(T, C, H, W\)"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        recording(**change)
