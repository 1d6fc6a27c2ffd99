import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from seefar.positions import Rope


def _by_hand(x: np.ndarray, positions: np.ndarray, base: float) -> np.ndarray:
    """Every pair of channels as one complex number, turned by exp(i angle); angles in long double."""
    d = x.shape[-1]
    frequency = np.longdouble(base) ** (-np.arange(0, d, 2, dtype=np.longdouble) / d)
    angle = np.remainder(positions.astype(np.longdouble)[..., None] * frequency, 2 * np.longdouble(np.pi))
    turned = (x[..., : d // 2] + 1j * x[..., d // 2 :]) * np.exp(1j * angle.astype(np.float64))
    return np.concatenate([turned.real, turned.imag], -1)


def test_turns_like_the_rope_of_llama():
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5000.0}
    )
    positions = torch.stack([torch.arange(20), torch.arange(100, 120)])
    q, k = torch.randn(2, 4, 20, 16), torch.randn(2, 2, 20, 16)
    cos, sin = LlamaRotaryEmbedding(config)(q, positions)
    want_q, want_k = apply_rotary_pos_emb(q, k, cos, sin)
    rope = Rope(16, base=5000.0)
    torch.testing.assert_close(rope(q, positions), want_q, rtol=1e-5, atol=2e-5)
    torch.testing.assert_close(rope(k, positions), want_k, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("dtype, tol", [(torch.float64, 1e-9), (torch.float32, 1e-6)])
def test_is_precise_at_positions_of_a_million(dtype, tol):
    x = torch.randn(1, 2, 4, 64, dtype=dtype)
    positions = torch.tensor([999_983, 1_000_000, 1_000_000.25, -1_048_575.5], dtype=torch.float64)
    want = torch.from_numpy(_by_hand(x.double().numpy(), positions.numpy(), 10_000.0))
    torch.testing.assert_close(Rope(64)(x, positions).double(), want, rtol=tol, atol=tol)


def test_half_precision_is_rounded_once_at_the_end():
    x = torch.randn(1, 1, 9, 32, dtype=torch.bfloat16)
    positions = torch.arange(9) * 1000
    got = Rope(32)(x, positions)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, Rope(32)(x.float(), positions).bfloat16())


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(-1e6, 1e6))
def test_products_see_only_the_distance(place, distance, shift):
    rope = Rope(8)
    generator = torch.Generator().manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8, dtype=torch.float64, generator=generator)

    def product(a: float, b: float) -> float:
        places = torch.tensor([[a], [b]], dtype=torch.float64)
        return float((rope(q, places[0]) * rope(k, places[1])).sum())

    assert math.isclose(
        product(place, place + distance), product(place + shift, place + distance + shift), rel_tol=1e-8, abs_tol=1e-8
    )
    assert abs(product(0, 0) - product(0, 1)) > 1e-3  # and the distance is really seen


def test_position_zero_changes_nothing_and_lengths_are_kept():
    x = torch.randn(2, 3, 5, 16, dtype=torch.float64)
    assert torch.equal(Rope(16)(x, torch.zeros(5)), x)
    torch.testing.assert_close(Rope(16)(x, torch.arange(5)).norm(dim=-1), x.norm(dim=-1))


def test_each_row_may_have_its_own_positions():
    x = torch.randn(3, 2, 5, 8, dtype=torch.float64)
    positions = torch.rand(3, 5, dtype=torch.float64) * 100
    whole = Rope(8)(x, positions)
    for row in range(3):
        torch.testing.assert_close(whole[row : row + 1], Rope(8)(x[row : row + 1], positions[row]))


def test_gradients_flow_and_are_turned_back():
    x = torch.randn(1, 2, 3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: Rope(8)(x, torch.tensor([0.5, 3, 1000])), x)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Rope(7), "even.*7"),
        (lambda: Rope(0), "even.*0"),
        (lambda: Rope(8, base=-1), "base.*-1"),
        (lambda: Rope(8)(torch.randn(1, 1, 3, 16), torch.arange(3)), "16 channels.*8"),
        (lambda: Rope(8)(torch.randn(2, 1, 3, 8), torch.arange(4)), r"\(3,\) or \(2, 3\), got \(4,\)"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
