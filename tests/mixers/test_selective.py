import math

import pytest
import torch
from torch import Tensor, nn

from seefar.mixers import Block, Mamba, MambaState, Stack
from seefar.testing import check_streaming


def _hf_model(**changes) -> nn.Module:
    """A tiny Mamba of transformers in which no parameter has a value that hides mistakes (bias of 0, D of 1)."""
    from transformers import MambaConfig, MambaForCausalLM

    torch.manual_seed(0)
    settings = {"conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 3} | changes
    config = MambaConfig(vocab_size=50, hidden_size=24, state_size=5, num_hidden_layers=3, **settings)
    model = MambaForCausalLM(config).eval()
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
        self.stack = Stack([Block(24, Mamba.from_hf(layer.mixer), mlp_ratio=0) for layer in backbone.layers])
        for block, layer in zip(self.stack.blocks, backbone.layers, strict=True):
            block.norm.load_state_dict(layer.norm.state_dict())
        self.norm = nn.RMSNorm(24, eps=1e-5)
        self.norm.load_state_dict(backbone.norm_f.state_dict())

    def forward(self, ids: Tensor, state=None):
        x, state = self.stack(self.embed(ids), state)
        return self.head(self.norm(x)), state


def test_streams():
    check_streaming(Mamba(6, d_state=4, dt_rank=2), torch.randn(2, 33, 6))


def test_streams_without_a_convolution():
    check_streaming(Mamba(6, d_state=4, d_conv=1), torch.randn(2, 17, 6))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(Mamba(6, d_state=4)), torch.randn(2, 33, 6))


@pytest.mark.parametrize("forgotten", MambaState._fields)
def test_one_that_forgets_a_part_of_its_state_is_caught(forgotten, forgetful):
    with pytest.raises(AssertionError, match="chunks of 1: outputs"):
        check_streaming(forgetful(Mamba(6, d_state=4), forgotten), torch.randn(2, 33, 6))


@pytest.mark.parametrize(
    "changes",
    [{}, {"use_bias": True, "use_conv_bias": False}, {"conv_kernel": 2, "expand": 3, "time_step_rank": "auto"}],
)
def test_weights_of_transformers_give_equal_logits_whole_chunked_and_step_by_step(changes):
    model = _hf_model(**changes)
    ours = _Ours(model)
    ids = torch.randint(50, (2, 37))
    with torch.no_grad():
        want = model(ids, use_cache=False).logits
        assert want.std() > 0.1
        torch.testing.assert_close(ours(ids)[0], want, rtol=1e-5, atol=1e-5)
        for size in (1, 2, 3, 10, 36):
            outs, state = [], None
            for piece in ids.split(size, 1):
                out, state = ours(piece, state)
                outs.append(out)
            torch.testing.assert_close(torch.cat(outs, 1), want, rtol=1e-5, atol=1e-5)


def test_equals_the_mixer_of_transformers_and_its_gradients_in_float64(monkeypatch):
    theirs = _hf_model(use_bias=True).double().backbone.layers[1].mixer
    ours = Mamba.from_hf(theirs)
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # theirs rounds A, D and the bias of the step to float32
    x = torch.randn(2, 19, 24, dtype=torch.float64)
    wanted, got = theirs(x), ours(x)[0]
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    wanted.square().sum().backward()
    got.square().sum().backward()
    named = dict(theirs.named_parameters())
    assert named.keys() == dict(ours.named_parameters()).keys()
    for name, weight in ours.named_parameters():
        torch.testing.assert_close(weight.grad, named[name].grad, rtol=1e-8, atol=1e-9, msg=name)


def test_a_copy_is_no_alias():
    theirs = _hf_model().backbone.layers[0].mixer
    ours = Mamba.from_hf(theirs)
    assert {p.data_ptr() for p in theirs.parameters()}.isdisjoint(p.data_ptr() for p in ours.parameters())


def test_begins_as_published():
    mixer = Mamba(64, d_state=8)
    assert mixer.dt_proj.in_features == math.ceil(64 / 16) and mixer.A_log.shape == (128, 8)
    torch.testing.assert_close(-mixer.A_log.exp(), -torch.arange(1.0, 9).expand(128, 8))
    assert (mixer.D == 1).all()
    assert mixer.A_log._no_weight_decay and mixer.D._no_weight_decay
    step = nn.functional.softplus(mixer.dt_proj.bias)
    assert step.min() > 0.99e-3 and step.max() < 1.01e-1
    share = ((step.log() - math.log(1e-3)) / math.log(100)).sort().values
    assert (share - torch.linspace(0, 1, 128)).abs().max() < 0.2  # even in log, not bunched
    assert 0.4 < mixer.dt_proj.weight.abs().max() <= 4**-0.5


def test_the_state_has_one_size_and_keeps_no_chunk_alive():
    mixer = Mamba(8, d_state=4)
    with torch.no_grad():
        for N in (1, 2, 500):
            _, state = mixer(torch.randn(3, N, 8))
            assert state.conv_BKE.shape == (3, 3, 16) and state.h_BES.shape == (3, 16, 4)
            assert state.conv_BKE.untyped_storage().nbytes() == 3 * 3 * 16 * 4


def test_half_precision_scans_in_float32():
    mixer = Mamba(8).bfloat16()
    y, state = mixer(torch.randn(1, 20, 8, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and state.h_BES.dtype == torch.float32
    assert mixer(torch.randn(1, 1, 8, dtype=torch.bfloat16), state)[0].dtype == torch.bfloat16


def test_the_state_of_the_caller_is_left_as_it_was():
    mixer = Mamba(8)
    _, state = mixer(torch.randn(1, 5, 8))
    before = [part.clone() for part in state]
    mixer(torch.randn(1, 5, 8), state)
    assert all(torch.equal(part, old) for part, old in zip(state, before, strict=True))


def _relu_mixer() -> nn.Module:
    return _hf_model(hidden_act="relu").backbone.layers[0].mixer


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Mamba(8, d_conv=0), "d_conv.*got 0"),
        (lambda: Mamba(8, d_state=0), "d_state.*got 0"),
        (lambda: Mamba(8, expand=0.01), "expand.*got 0"),
        (lambda: Mamba(8, dt_rank=0), "dt_rank.*got 0"),
        (lambda: Mamba.from_hf(nn.Linear(3, 3)), "Linear has no.*A_log"),
        (lambda: Mamba.from_hf(_relu_mixer()), "silu.*'relu'"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
