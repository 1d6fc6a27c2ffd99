import pytest
import torch
from torch import nn

from seefar.mixers import Attention, ConvS5, PostNorm
from seefar.synthesis import FramePredictor


def predictor():
    torch.manual_seed(0)
    column = PostNorm(4, ConvS5(4, groups=2))
    return FramePredictor(nn.Conv2d(1, 4, 2, 2), column, nn.ConvTranspose2d(4, 1, 2, 2)).double().eval()


CLIP = torch.rand(2, 9, 1, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_each_frame_is_guessed_from_those_before_it_alone():
    model, later = predictor(), CLIP.clone()
    later[:, 5:] = 0
    guess, other = model(CLIP)[0], model(later)[0]
    assert guess.shape == CLIP.shape and guess.min() > 0 and guess.max() < 1
    torch.testing.assert_close(guess[:, :5], other[:, :5], rtol=0, atol=1e-12)
    assert (guess[:, 5:] != other[:, 5:]).any()


def test_a_rollout_takes_its_own_frames_for_true():
    model = predictor()
    frames, _ = model.rollout(CLIP, 4)
    seen = CLIP
    for n in range(4):
        frame = model(seen)[0][:, -1:]
        torch.testing.assert_close(frames[:, n : n + 1], frame, rtol=0, atol=1e-12)
        seen = torch.cat([seen, frame], 1)


def test_a_rollout_goes_on_where_it_ended():
    model = predictor()
    whole, end = model.rollout(CLIP, 10)
    first, state = model.rollout(CLIP, 4)
    rest, last = model.rollout(first[:, -1:], 6, state)
    torch.testing.assert_close(torch.cat([first, rest], 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(last, end, rtol=0, atol=1e-12)


def test_pixels_are_those_of_tanh():
    model = predictor()
    places = model.encode(2 * CLIP[:, 0] - 1).permute(0, 2, 3, 1)[:, None]
    want = (model.decode(model.column(places)[0][:, 0].permute(0, 3, 1, 2)).tanh() + 1) / 2
    torch.testing.assert_close(model(CLIP[:, :1])[0][:, 0], want)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: predictor().rollout(CLIP, 0), "at least one step, got 0"),
        (lambda: predictor().rollout(CLIP[:, :0], 3), "a frame at least"),
        (lambda: predictor()(CLIP[:, 0]), r"got \(2, 1, 6, 4\)"),
        (
            lambda: FramePredictor(nn.Identity(), Attention(4, 2, causal=False), nn.Identity()),
            "Attention sees the future",
        ),
        (lambda: predictor()(CLIP[..., :2], predictor()(CLIP)[1]), "2 clips of 3 x 2 places, now come 2 of 3 x 1"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
