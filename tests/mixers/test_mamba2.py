import math

import pytest
import torch
from torch import Tensor, nn

from seefar.mixers.block import Block, Stack
from seefar.mixers.mamba2 import GatedRMSNorm, Mamba2, Mamba2State
from seefar.testing import check_streaming


def _hf_model(**changes) -> nn.Module:
    """A tiny Mamba-2 of transformers in which no parameter has a value that hides mistakes (bias of 0, D of 1)."""
    from transformers import Mamba2Config, Mamba2ForCausalLM

    torch.manual_seed(0)
    settings = {"num_heads": 6, "head_dim": 8, "n_groups": 3, "layer_norm_epsilon": 1e-3} | changes
    config = Mamba2Config(
        vocab_size=50,
        hidden_size=24,
        state_size=5,
        num_hidden_layers=2,
        chunk_size=8,
        initializer_range=0.3,
        **settings,
    )
    model = Mamba2ForCausalLM(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return model


class _Ours(nn.Module):
    """The same language model out of our blocks."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        backbone = model.backbone
        self.embed, self.head = backbone.embeddings, model.lm_head
        layers = [Block(24, Mamba2.from_hf(layer.mixer), mlp_ratio=0, norm=self._norm) for layer in backbone.layers]
        self.stack, self.norm = Stack(layers), self._norm(24)
        for block, layer in zip(layers, backbone.layers, strict=True):
            block.norm.load_state_dict(layer.norm.state_dict())
        self.norm.load_state_dict(backbone.norm_f.state_dict())

    def _norm(self, dim: int) -> nn.Module:
        return nn.RMSNorm(dim, eps=1e-3)

    def forward(self, ids: Tensor, state=None):
        x, state = self.stack(self.embed(ids), state)
        return self.head(self.norm(x)), state


def _small(**changes) -> Mamba2:
    torch.manual_seed(0)
    return Mamba2(6, **({"d_state": 4, "head_dim": 3, "groups": 2} | changes))


@pytest.mark.parametrize("changes", [{}, {"d_conv": 1, "groups": 1}])
def test_streams(changes):
    check_streaming(_small(**changes), torch.randn(2, 70, 6))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(_small()), torch.randn(2, 17, 6))


@pytest.mark.parametrize("forgotten", Mamba2State._fields)
def test_one_that_forgets_a_part_of_its_state_is_caught(forgotten, forgetful):
    with pytest.raises(AssertionError, match="chunks of 1: outputs"):
        check_streaming(forgetful(Mamba2(6, d_state=4, head_dim=3), forgotten), torch.randn(2, 17, 6))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"use_bias": True, "use_conv_bias": False, "n_groups": 1},
        {"conv_kernel": 2, "expand": 3, "num_heads": 9, "time_step_limit": (0.2, 0.9)},
    ],
)
def test_weights_of_transformers_give_equal_logits_whole_and_in_chunks(changes):
    model = _hf_model(**changes)
    ours = _Ours(model)
    ids = torch.randint(50, (2, 37))
    with torch.no_grad():
        want = model(ids, use_cache=False).logits
        assert want.std() > 0.1
        for size in (37, 1, 10):
            outs, state = [], None
            for piece in ids.split(size, 1):
                out, state = ours(piece, state)
                outs.append(out)
            torch.testing.assert_close(torch.cat(outs, 1), want, rtol=1e-4, atol=1e-4)


def test_equals_the_step_by_step_form_of_transformers_and_its_state():
    model = _hf_model()
    ours, ids = _Ours(model), torch.randint(50, (1, 12))
    with torch.no_grad():
        cache, outs = None, []
        for token in ids.split(1, 1):
            out = model(token, cache_params=cache, use_cache=True)
            cache = out.cache_params
            outs.append(out.logits)
        got, state = ours(ids)
    torch.testing.assert_close(got, torch.cat(outs, 1), rtol=1e-4, atol=1e-4)
    theirs = cache.get_recurrent_state(1, state_idx=0)
    torch.testing.assert_close(state[1].h_BHPS, theirs, rtol=1e-4, atol=1e-4)


def test_equals_the_gradients_of_transformers():
    theirs = _hf_model(use_bias=True).backbone.layers[1].mixer
    ours, x = Mamba2.from_hf(theirs), torch.randn(2, 19, 24)
    theirs(x).square().sum().backward()
    ours(x)[0].square().sum().backward()
    named = dict(theirs.named_parameters())
    assert named.keys() == dict(ours.named_parameters()).keys()
    for name, weight in ours.named_parameters():
        scale = float(named[name].grad.abs().max())
        torch.testing.assert_close(weight.grad, named[name].grad, rtol=1e-3, atol=1e-4 * scale, msg=name)


def test_a_copy_is_no_alias():
    theirs = _hf_model().backbone.layers[0].mixer
    ours = Mamba2.from_hf(theirs)
    assert {p.data_ptr() for p in theirs.parameters()}.isdisjoint(p.data_ptr() for p in ours.parameters())


def test_the_norm_is_of_what_is_gated_group_by_group():
    torch.manual_seed(0)
    norm, y, z = GatedRMSNorm(6, groups=2, eps=0.0), torch.randn(5, 6), torch.randn(5, 6)
    out = norm(y, z).unflatten(-1, (2, 3))
    torch.testing.assert_close(out.square().mean(-1), torch.ones(5, 2))
    gated = y * z * z.sigmoid()
    torch.testing.assert_close(out[:, 0] / out[:, 0, :1], gated[:, :3] / gated[:, :1])
    torch.testing.assert_close(norm(7 * y, z), norm(y, z))


def test_begins_as_published():
    torch.manual_seed(0)
    mixer = Mamba2(64, d_state=8, head_dim=2)
    assert (mixer.D == 1).all() and mixer.A_log._no_weight_decay and mixer.dt_bias._no_weight_decay
    rates = (mixer.A_log.exp().sort().values - 1) / 15
    step = nn.functional.softplus(mixer.dt_bias)
    share = ((step.log() - math.log(1e-3)) / math.log(100)).sort().values
    for drawn in (rates, share):
        assert drawn.min() > -1e-3 and drawn.max() < 1.001
        assert (drawn - torch.linspace(0, 1, 64)).abs().max() < 0.25  # even, not bunched


def test_the_state_has_one_size_and_keeps_no_chunk_alive():
    mixer = _small()
    with torch.no_grad():
        for N in (1, 2, 500):
            _, state = mixer(torch.randn(3, N, 6))
            assert state.conv_BKF.shape == (3, 3, 12 + 16) and state.h_BHPS.shape == (3, 4, 3, 4)
            assert state.conv_BKF.untyped_storage().nbytes() == 3 * 3 * 28 * 4
            assert state.h_BHPS.untyped_storage().nbytes() == 3 * 4 * 3 * 4 * 4


def test_half_precision_scans_in_float32():
    mixer = _small().bfloat16()
    y, state = mixer(torch.randn(1, 20, 6, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and state.h_BHPS.dtype == torch.float32
    assert mixer(torch.randn(1, 1, 6, dtype=torch.bfloat16), state)[0].dtype == torch.bfloat16


def _relu_mixer() -> nn.Module:
    return _hf_model(hidden_act="relu").backbone.layers[0].mixer


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Mamba2(8, d_conv=0), r"d_conv.*got 0"),
        (lambda: Mamba2(8, d_state=0), r"d_state.*got 0"),
        (lambda: Mamba2(8), r"head_dim must divide round\(expand \* dim\) = 16, got 64"),
        (lambda: Mamba2(8, head_dim=4, groups=3), r"groups must divide the 4 heads, got 3"),
        (lambda: Mamba2.from_hf(nn.Linear(3, 3)), r"Linear has no.*A_log"),
        (lambda: Mamba2.from_hf(_relu_mixer()), r"silu.*'relu'"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
