"""Oracle: circular convolution as the sum of its definition, in float64."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from seefar.mixers import Holographic
from seefar.mixers.holographic import exact, involution


def convolved(a, b):
    """(a * b)_i = sum_j a_j b_(i - j mod d), as a loop."""
    d = len(a)
    return np.array([sum(a[j] * b[(i - j) % d] for j in range(d)) for i in range(d)])


def undone(q, inverse):
    """q^-1: turned around for the involution; from the matrix of the convolution by q, inverted, for the exact one."""
    d = len(q)
    if inverse is involution:
        return q[-np.arange(d) % d]
    circulant = np.array([[q[(i - j) % d] for j in range(d)] for i in range(d)])
    return np.linalg.solve(circulant, np.eye(d)[0])


@pytest.mark.parametrize("inverse", [involution, exact])
@pytest.mark.parametrize("d", [5, 8])
@pytest.mark.parametrize("form", ["linear", "direct"])
def test_it_is_what_the_equations_say(inverse, d, form):
    torch.manual_seed(d)
    q, k, v = torch.randn(3, 6, d, dtype=torch.float64).numpy()
    bound = sum(convolved(k[m], v[m]) for m in range(6))
    found = [convolved(undone(q[n], inverse), bound) for n in range(6)]
    cosine = np.array([v[n] @ found[n] / np.linalg.norm(v[n]) / np.linalg.norm(found[n]) for n in range(6)])
    weights = np.exp(cosine) / np.exp(cosine).sum()
    parts = (torch.from_numpy(part)[None, None] for part in (q, k, v))
    got = getattr(Holographic(inverse), form)(*parts)[0, 0]
    np.testing.assert_allclose(got.numpy(), weights[:, None] * v, rtol=1e-7, atol=1e-9)


def test_one_pair_asked_by_its_own_key_gives_the_value_back():
    torch.manual_seed(0)
    k, v = torch.randn(2, 1, 1, 1, 16, dtype=torch.float64).unbind()
    spectra = [torch.fft.rfft(part) for part in (k, v)]
    torch.testing.assert_close(torch.fft.irfft(exact(spectra[0]) * spectra[0] * spectra[1], 16), v, rtol=0, atol=1e-6)
    turned = torch.fft.rfft(k) / torch.fft.rfft(k).abs()  # all frequencies of size one: the involution is exact
    torch.testing.assert_close(turned * involution(turned), torch.ones_like(turned))


def test_the_right_value_sinks_in_the_others_as_the_root_of_their_number():
    generator = torch.Generator().manual_seed(0)
    tokens, found = [16, 64, 256, 1024, 4096], []
    for T in tokens:
        streams = 65536 // T
        k, v = torch.randn(2, streams, T, 64, generator=generator).unbind()
        k = torch.fft.rfft(k)
        k = k / k.abs()
        got = torch.fft.irfft(involution(k) * (k * torch.fft.rfft(v)).sum(1, keepdim=True), 64)
        found.append(float(F.cosine_similarity(got, v, dim=-1).mean()))
    slope = np.polyfit(np.log(tokens), np.log(found), 1)[0]
    assert slope == pytest.approx(-0.5, abs=0.05)


def test_values_are_weighed_and_never_mixed():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 3, 7, 4, dtype=torch.float64).unbind()
    share = Holographic().linear(q, k, v) / v
    torch.testing.assert_close(share, share[..., :1].expand_as(share))
    torch.testing.assert_close(share[..., 0].sum(-1), torch.ones(2, 3, dtype=torch.float64))
    assert (share[..., 0].amax(-1) / share[..., 0].amin(-1) <= np.e**2).all(), "cosines lie in [-1, 1]"


def test_padding_only_gives_zeros_and_finite_gradients():
    q, k, v = (part.requires_grad_() for part in torch.randn(3, 1, 1, 5, 4, dtype=torch.float64).unbind())
    got = Holographic().linear(q, k, v, torch.zeros(1, 5, dtype=torch.bool))
    assert (got == 0).all()
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(got.sum(), (q, k, v)))


def test_memory_of_training_grows_with_the_tokens_alone():
    held = []
    for T in (256, 1024):
        q, k, v = (part.requires_grad_() for part in torch.randn(3, 1, 2, T, 16).unbind())
        kept = {}
        with torch.autograd.graph.saved_tensors_hooks(
            lambda x, kept=kept: kept.setdefault(x.untyped_storage().data_ptr(), x.untyped_storage().nbytes()) and x,
            lambda x: x,
        ):
            Holographic().linear(q, k, v)
        held.append(sum(kept.values()))
    assert held[1] / held[0] == pytest.approx(4, rel=0.05)
