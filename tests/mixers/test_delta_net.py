import math

import pytest
import torch
from torch import nn

from seefar.mixers.delta_net import GatedDeltaNet, GatedDeltaState
from seefar.testing import check_streaming


def _hf_config(**changes):
    from transformers import Qwen3NextConfig

    settings = {"linear_num_key_heads": 2, "linear_num_value_heads": 6, "linear_key_head_dim": 8} | changes
    return Qwen3NextConfig(hidden_size=24, num_hidden_layers=1, linear_value_head_dim=5, rms_norm_eps=1e-3, **settings)


def _hf_mixer(**changes) -> nn.Module:
    """A tiny one of transformers that remembers, in which no parameter has a value that hides mistakes."""
    from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet

    torch.manual_seed(0)
    mixer = Qwen3NextGatedDeltaNet(_hf_config(**changes), 0)
    with torch.no_grad():
        mixer.A_log.uniform_(-6, 0)
        for weight in mixer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return mixer


def _small(**changes) -> GatedDeltaNet:
    torch.manual_seed(0)
    return GatedDeltaNet(6, 2, **({"value_heads": 4, "key_width": 4, "value_width": 3} | changes))


@pytest.mark.parametrize("N, changes", [(70, {}), (17, {"d_conv": 1, "value_heads": None})])
def test_streams(N, changes):
    check_streaming(_small(**changes), torch.randn(2, N, 6))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(_small()), torch.randn(2, 17, 6))


@pytest.mark.parametrize("forgotten", GatedDeltaState._fields)
def test_one_that_forgets_a_part_of_its_state_is_caught(forgotten, forgetful):
    with pytest.raises(AssertionError, match="chunks of 1: outputs"):
        check_streaming(forgetful(GatedDeltaNet(6, 2, key_width=4, value_width=3), forgotten), torch.randn(2, 17, 6))


@pytest.mark.parametrize("changes", [{}, {"linear_num_key_heads": 6, "linear_conv_kernel_dim": 2}])
def test_weights_of_transformers_give_equal_outputs_whole_and_in_chunks(changes):
    theirs = _hf_mixer(**changes)
    ours, x = GatedDeltaNet.from_hf(theirs), torch.randn(2, 100, 24)
    with torch.no_grad():
        want = theirs(x)
        assert want.std() > 0.1
        for size in (100, 64, 1):
            outs, state = [], None
            for piece in x.split(size, 1):
                out, state = ours(piece, state)
                outs.append(out)
            torch.testing.assert_close(torch.cat(outs, 1), want, rtol=1e-5, atol=1e-5)


def test_equals_the_step_by_step_form_of_transformers_and_its_state():
    from transformers import DynamicCache

    theirs = _hf_mixer()
    x, cache = torch.randn(2, 12, 24), DynamicCache(config=_hf_config())
    with torch.no_grad():
        want = torch.cat([theirs(token, cache_params=cache) for token in x.split(1, 1)], 1)
        got, state = GatedDeltaNet.from_hf(theirs)(x)
    torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(state.S_BHPV, cache.get_recurrent_state(0, state_idx=0), rtol=1e-5, atol=1e-5)


def test_equals_the_gradients_of_transformers():
    theirs = _hf_mixer()
    ours, x = GatedDeltaNet.from_hf(theirs), torch.randn(2, 70, 24)
    theirs(x).square().sum().backward()
    ours(x)[0].square().sum().backward()
    named = dict(theirs.named_parameters())
    assert named.keys() == dict(ours.named_parameters()).keys()
    for name, weight in ours.named_parameters():
        scale = float(named[name].grad.abs().max())
        torch.testing.assert_close(weight.grad, named[name].grad, rtol=1e-4, atol=1e-5 * scale, msg=name)


def test_a_copy_is_no_alias():
    theirs = _hf_mixer()
    ours = GatedDeltaNet.from_hf(theirs)
    assert {p.data_ptr() for p in theirs.parameters()}.isdisjoint(p.data_ptr() for p in ours.parameters())


def test_begins_as_published():
    torch.manual_seed(0)
    mixer = GatedDeltaNet(8, 128, key_width=1, value_width=1)
    assert mixer.A_log._no_weight_decay and mixer.dt_bias._no_weight_decay
    rates = mixer.A_log.exp().sort().values / 16
    step = nn.functional.softplus(mixer.dt_bias)
    share = ((step.log() - math.log(1e-3)) / math.log(100)).sort().values
    for drawn in (rates, share):
        assert drawn.min() > -1e-3 and drawn.max() < 1.001
        assert (drawn - torch.linspace(0, 1, 128)).abs().max() < 0.2  # even, not bunched


def test_the_state_has_one_size_and_keeps_no_chunk_alive():
    mixer = _small()
    with torch.no_grad():
        for N in (1, 2, 300):
            _, state = mixer(torch.randn(3, N, 6))
            assert state.conv_BKF.shape == (3, 3, 16 + 12) and state.S_BHPV.shape == (3, 4, 4, 3)
            assert all(part.untyped_storage().nbytes() == 4 * part.numel() for part in state)


def test_half_precision_keeps_its_state_in_float32():
    mixer, x = _small(), torch.randn(1, 20, 6)
    want = mixer(x)[0]
    y, state = mixer.bfloat16()(x.bfloat16())
    assert y.dtype == state.conv_BKF.dtype == torch.bfloat16 and state.S_BHPV.dtype == torch.float32
    assert (y - want).norm() < 0.05 * want.norm()
    assert mixer(x[:, :1].bfloat16(), state)[0].dtype == torch.bfloat16


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: GatedDeltaNet(8, 0), r"heads.*got 0"),
        (lambda: GatedDeltaNet(8, 2, d_conv=0), r"d_conv.*got 0"),
        (lambda: GatedDeltaNet(8, 2, key_width=0), r"key_width.*got 0"),
        (lambda: GatedDeltaNet(8, 2, value_heads=3), r"value_heads must be a multiple of the 2 heads, got 3"),
        (lambda: GatedDeltaNet.from_hf(nn.Linear(3, 3)), r"Linear has no.*A_log"),
        (lambda: GatedDeltaNet.from_hf(_hf_mixer(hidden_act="relu")), r"silu.*'relu'"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
