"""Oracles: the Jacobian, which must be zero above the diagonal; the published form with its shift, written out."""

import pytest
import torch
import torch.nn.functional as F

from seefar.evals.flops import matrix_flops
from seefar.mixers import Attention, Look, column
from seefar.mixers.hourglass import Hourglass, MeanResample, hourglass
from seefar.positions.rope import Rope
from seefar.testing import check_streaming


def look(dim):
    return Look(dim, 2, rope=Rope(dim // 2))


FORMS = {
    "linear": {},
    "mean": {"resample": MeanResample},
    "looking up": {"look_up": look},
    "looking down and up": {"look_down": look, "look_up": look, "resample": MeanResample},
}
ALL = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def make(hierarchy="1@1 1@3 1@1", dim=4, **options):
    torch.manual_seed(0)
    return hourglass(hierarchy, dim, "A F", A=lambda: Attention(dim, 2, rope=Rope(dim // 2)), **options).double()


@ALL
def test_streams(form):
    check_streaming(make(**form), torch.randn(2, 17, 4))


@ALL
def test_streams_nested_with_a_bounded_middle(form):
    torch.manual_seed(0)
    nested = hourglass("1@1 1@2 1@4 1@2 1@1", 4, "A", A=lambda: Attention(4, 2, window=3), **form)
    assert nested.bounded == ("look_up" not in form) and not make().bounded
    check_streaming(nested, torch.randn(1, 15, 4))


def test_a_broken_one_is_caught(broken):
    with pytest.raises(AssertionError):
        check_streaming(broken(make()), torch.randn(2, 17, 4))


def reach(column, N=13):
    """(N, N) bool: whether the output of the row depends on the input of the column."""
    x = torch.randn(1, N, 4, dtype=torch.float64).repeat(N, 1, 1).requires_grad_()  # one copy for each row
    # a plain sum over channels would be blind: that of a norm's output is always zero
    outputs = column(x)[0] @ torch.tensor([1.0, 2, -3, 5]).double()
    return torch.autograd.grad(outputs.diagonal().sum(), x)[0].abs().sum(-1) > 0


@ALL
@pytest.mark.parametrize("hierarchy", ["1@1 1@2 1@1", "1@1 1@3 1@1", "1@1 1@4 1@1", "1@1 1@2 1@4 1@2 1@1"])
def test_no_output_feels_a_later_input_at_all(hierarchy, form):
    found = reach(make(hierarchy, **form))
    assert not found.triu(1).any() and found.diagonal().all()


def looked(look, rough, places, others, other_places, beside=0):
    """All scores written out, those of later places struck out."""
    u = look.query_norm(rough) + beside
    q, k, v = (
        project(x).unflatten(-1, (look.heads, -1)).transpose(1, 2)
        for project, x in ((look.q_proj, u), (look.k_proj, others), (look.v_proj, others))
    )
    scores = look.rope(q, places) @ look.rope(k, other_places).mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(places[:, None] < other_places, -torch.inf).softmax(-1)
    u = u + look.o_proj((weights @ v).transpose(1, 2).flatten(2))
    mlp = look.mlp
    return u + mlp.mixer.out(F.gelu(mlp.mixer.into(mlp.norm(u))))


def published(mixer, x, shift):
    """Shift by k - 1, cut, shorten, mix, lengthen, add: at a length that k divides."""
    k, N = mixer.factor, x.shape[1]
    near = mixer.long_norm(F.pad(x, (0, 0, shift, 0)))
    short = mixer.resample.down(near[:, :N].unflatten(1, (-1, k)))
    groups, tokens = k * torch.arange(N // k), torch.arange(N)
    if mixer.look_down is not None:
        short = looked(mixer.look_down, short, groups + k - 1 - shift, near[:, shift:], tokens)
    mixed = mixer.short_norm(mixer.inner(short)[0])
    long = mixer.resample.up(mixed).flatten(1, 2)
    if mixer.look_up is not None:
        long = looked(mixer.look_up, long, tokens, mixed, groups, beside=x)
    return x + mixer.norm(long)


@ALL
@pytest.mark.parametrize("k", [1, 2, 3])
def test_is_the_published_form_and_without_its_shift_it_would_leak(k, form):
    torch.manual_seed(0)
    mixer, x = Hourglass(4, Attention(4, 2), k, **form).double(), torch.randn(2, 12, 4).double()
    torch.testing.assert_close(mixer(x)[0], published(mixer, x, k - 1), rtol=1e-12, atol=1e-12)
    leaks = reach(lambda x: (published(mixer, x, 0),), 12).triu(1).any()
    assert leaks == (k > 1)


def test_one_level_is_a_flat_column():
    torch.manual_seed(0)
    flat, x = column("(A F)*3", 4, A=lambda: Attention(4, 2, rope=Rope(2))).double(), torch.randn(1, 9, 4).double()
    torch.testing.assert_close(make("3@1")(x)[0], flat(x)[0], rtol=0, atol=0)


def test_arithmetic_is_that_of_the_layers_at_their_lengths():
    N, D, k = 16, 4, 4
    layer = lambda n: 24 * n * D**2 + 4 * n**2 * D  # noqa: E731
    wanted = 2 * layer(N) + 3 * layer(N // k) + 4 * N * D**2  # the last: there and back
    assert matrix_flops(lambda: make("1@1 3@4 1@1")(torch.randn(1, N, D).double())) == wanted


def test_a_length_that_the_factor_does_not_divide_is_the_beginning_of_a_longer_one():
    column, x = make(), torch.randn(2, 15, 4).double()
    for N in (1, 2, 13, 14):
        torch.testing.assert_close(column(x[:, :N])[0], column(x)[0][:, :N], rtol=1e-12, atol=1e-12)


def test_the_middle_runs_at_a_fraction_of_the_length():
    column, lengths = make("1@1 2@4 1@1"), []
    column.blocks[1].inner.register_forward_pre_hook(lambda _, given: lengths.append(given[0].shape[1]))
    column(torch.randn(1, 16, 4).double())
    assert lengths == [4]


@pytest.mark.parametrize(
    ("hierarchy", "why"),
    [
        ("1@1 2@3", "the same read backwards"),
        ("1@2 2@4 1@2", "begin with a factor of 1"),
        ("1@1 1@2 1@3 1@2 1@1", "3 is no multiple of 2"),
        ("1@1 x 1@1", "is written as"),
        ("0@1 1@2 0@1", "at least one layer"),
    ],
)
def test_says_what_is_wrong_with_a_hierarchy(hierarchy, why):
    with pytest.raises(ValueError, match=why):
        make(hierarchy)


def test_says_what_is_wrong():
    with pytest.raises(ValueError, match="must be causal"):
        Hourglass(4, Attention(4, 2, causal=False), 2)
    with pytest.raises(ValueError, match="factor=0"):
        Hourglass(4, Attention(4, 2), 0)
    with pytest.raises(ValueError, match="at least one token"):
        Hourglass(4, Attention(4, 2), 2)(torch.randn(1, 0, 4))
