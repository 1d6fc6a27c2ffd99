import pytest
import torch
from torch import Tensor, nn

from seefar.mixers import BidirectionalMamba, Block, Mamba, Stack

OWN = ("conv1d.weight", "conv1d.bias", "x_proj.weight", "dt_proj.weight", "dt_proj.bias", "A_log", "D")
BACK = {name: "A_b_log" if name == "A_log" else name.replace(".", "_b.") if "." in name else "D_b" for name in OWN}


def _mixer(dim: int = 24, **options) -> BidirectionalMamba:
    """One in which no parameter has a value that hides mistakes (bias of 0, D of 1, two directions alike)."""
    torch.manual_seed(0)
    mixer = BidirectionalMamba(dim, d_state=5, dt_rank=3, **options).double()
    with torch.no_grad():
        for weight in mixer.parameters():
            weight.add_(0.2 * torch.randn_like(weight))
    return mixer


def _of_transformers(mixer: BidirectionalMamba, *, back: bool) -> nn.Module:
    """A MambaMixer of transformers with the shared projections and the weights of one direction."""
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    config = MambaConfig(
        hidden_size=mixer.in_proj.in_features,
        state_size=5,
        time_step_rank=3,
        use_bias=mixer.in_proj.bias is not None,
        num_hidden_layers=1,
    )
    theirs = MambaMixer(config, 0).double()
    weights = mixer.state_dict()
    own = {name: weights[BACK[name] if back else name] for name in OWN}
    theirs.load_state_dict(own | {name: weights[name] for name in weights if name.startswith(("in_proj", "out_proj"))})
    return theirs


def _swap_directions(mixer: BidirectionalMamba) -> BidirectionalMamba:
    weights = mixer.state_dict()
    swapped = BidirectionalMamba(mixer.in_proj.in_features, d_state=5, dt_rank=3).double()
    there = {BACK[name]: weights[name] for name in OWN} | {name: weights[BACK[name]] for name in OWN}
    swapped.load_state_dict(weights | there)
    return swapped


def test_equals_the_mean_of_two_mixers_of_transformers_and_its_gradients(monkeypatch):
    mixer = _mixer()
    ahead, back = _of_transformers(mixer, back=False), _of_transformers(mixer, back=True)
    monkeypatch.setattr(Tensor, "float", Tensor.double)  # theirs rounds A, D and the bias of the step to float32
    x, y = (torch.randn(2, 19, 24, dtype=torch.float64).requires_grad_() for _ in range(2))
    with torch.no_grad():
        y.copy_(x)
    wanted, (got, state) = (ahead(y) + back(y.flip(1)).flip(1)) / 2, mixer(x)
    assert wanted.std() > 0.1 and state is None
    torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-9)
    wanted.square().sum().backward()
    got.square().sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-8, atol=1e-9)
    ours, theirs = dict(mixer.named_parameters()), dict(ahead.named_parameters())
    for name in OWN:
        torch.testing.assert_close(ours[name].grad, theirs[name].grad, rtol=1e-8, atol=1e-9, msg=name)
    for name in ("in_proj.weight", "out_proj.weight"):
        both = theirs[name].grad + dict(back.named_parameters())[name].grad
        torch.testing.assert_close(ours[name].grad, both, rtol=1e-8, atol=1e-9, msg=name)


@pytest.mark.parametrize("back", [False, True])
def test_one_direction_alone_is_half_a_mixer_of_transformers(back, monkeypatch):
    mixer = _mixer()
    one = _of_transformers(mixer, back=back)
    with torch.no_grad():
        for name in ("x_proj.weight", "D"):  # the other direction reads nothing and skips nothing
            mixer.get_parameter(name if back else BACK[name]).zero_()
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    x = torch.randn(2, 13, 24, dtype=torch.float64)
    wanted = one(x.flip(1)).flip(1) if back else one(x)
    torch.testing.assert_close(mixer(x)[0], wanted / 2, rtol=1e-9, atol=1e-9)


def test_a_reversed_sequence_under_swapped_directions_gives_reversed_features():
    mixer = _mixer()
    swapped, x = _swap_directions(mixer), torch.randn(2, 12, 24, dtype=torch.float64)
    torch.testing.assert_close(swapped(x.flip(1))[0], mixer(x)[0].flip(1), rtol=1e-12, atol=1e-12)
    assert (mixer(x.flip(1))[0] - mixer(x)[0].flip(1)).abs().max() > 1e-2  # and the swap was needed


@pytest.mark.parametrize("read, written", [(0, 30), (30, 0)])
def test_each_end_hears_the_other(read, written):
    x = torch.randn(1, 31, 24, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(_mixer()(x)[0][:, read].square().sum(), x)
    assert grad[:, written].abs().max() > 1e-9


def test_the_projections_are_shared():
    count = {make: sum(p.numel() for p in make(192).parameters()) for make in (Mamba, BidirectionalMamba)}
    inner, rank, states, taps = 384, 12, 16, 4
    own = inner * (taps + 1 + rank + 2 * states + rank + 1 + states + 1)
    assert count[Mamba] == 3 * 192 * inner + own
    assert count[BidirectionalMamba] == 3 * 192 * inner + 2 * own


def test_both_directions_begin_as_mamba_does_and_a_deep_column_begins_smaller():
    torch.manual_seed(0)
    mixer = BidirectionalMamba(64)
    for step, log_A, skip in ((mixer.dt_proj, mixer.A_log, mixer.D), (mixer.dt_proj_b, mixer.A_b_log, mixer.D_b)):
        first = nn.functional.softplus(step.bias)
        assert first.min() > 0.99e-3 and first.max() < 1.01e-1
        torch.testing.assert_close(log_A.exp(), torch.arange(1.0, 17).expand(128, 16))
        assert (skip == 1).all()
    assert not torch.equal(mixer.conv1d.weight, mixer.conv1d_b.weight)
    sizes = [BidirectionalMamba(64, depth=depth).out_proj.weight.abs().max().item() for depth in (1, 24)]
    assert sizes[1] == pytest.approx(sizes[0] / 24**0.5, rel=0.01)


def test_half_precision_scans_in_float32():
    mixer = BidirectionalMamba(8).bfloat16()
    y, _ = mixer(torch.randn(1, 20, 8, dtype=torch.bfloat16))
    assert y.dtype == torch.bfloat16 and torch.isfinite(y).all()


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: BidirectionalMamba(8)(torch.randn(1, 4, 8), Mamba(8)(torch.randn(1, 4, 8))[1]), "stream with Mamba"),
        (lambda: Stack([Block(8, BidirectionalMamba(8))])(torch.randn(1, 4, 8), (None,)), r"\[0\] are not causal"),
        (lambda: BidirectionalMamba(8, d_conv=0), "BidirectionalMamba: d_conv.*got 0"),
        (lambda: BidirectionalMamba(8, depth=0), "depth.*got 0"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
