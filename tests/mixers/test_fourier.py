"""Oracle: FNet of transformers; the waves written out."""

import math

import pytest
import torch

from seefar.mixers import Fourier


def test_is_the_transform_of_transformers():
    from transformers import FNetConfig
    from transformers.models.fnet.modeling_fnet import FNetBasicFourierTransform

    x = torch.randn(2, 7, 6)
    (want,) = FNetBasicFourierTransform(FNetConfig(use_tpu_fourier_optimizations=False))(x)
    torch.testing.assert_close(Fourier()(x)[0], want)


def test_is_the_product_with_two_matrices_of_waves():
    def waves(n):
        places = torch.arange(n, dtype=torch.float64)
        return torch.polar(torch.ones(n, n, dtype=torch.float64), -2 * math.pi * places[:, None] * places / n)

    x = torch.randn(2, 7, 6, dtype=torch.float64, requires_grad=True)
    y, state = Fourier()(x)
    want = (waves(7) @ x.to(torch.complex128) @ waves(6)).real
    torch.testing.assert_close(y, want, rtol=1e-12, atol=1e-12)
    probe = torch.randn_like(y)
    got, expected = (torch.autograd.grad((out * probe).sum(), x)[0] for out in (y, want))
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)
    assert state is None


def test_half_precision_is_transformed_in_float32():
    x = torch.randn(1, 16, 8).bfloat16()
    y, _ = Fourier()(x)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), torch.fft.fft2(x.float(), dim=(1, 2)).real, rtol=2**-7, atol=1e-6)


def test_a_state_is_refused():
    with pytest.raises(ValueError, match="no state to go on from"):
        Fourier()(torch.randn(1, 3, 4), ())
