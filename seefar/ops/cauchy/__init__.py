"""Cauchy sums: the response of many resonances along the imaginary axis; the spectrum of a state space is made of it.

D channels, R rows of weights, H conjugate pairs of poles, J points.

| backend | runs on | gradients |
|---|---|---|
| numba | CPU, complex64 and complex128; `pip install 'seefar[fast]'` | one fused kernel |
| blocked | any device, complex64 and complex128 | autograd through each block, made anew; any number of times |
| reference | anything | autograd through all pairs at once |
"""

from __future__ import annotations

from torch import Tensor

from seefar.ops._backend import choose
from seefar.ops.cauchy import blocked, numba, reference

BACKENDS = {"numba": numba, "blocked": blocked, "reference": reference}


def cauchy(v: Tensor, pole: Tensor, angle: Tensor, *, backend: str | None = None) -> Tensor:
    """The sum of poles and their conjugates at points of the imaginary axis.

    y_j = sum_n v_n / (2 i sin(a_j) - cos(a_j) p_n) + conj(v_n) / (2 i sin(a_j) - cos(a_j) conj(p_n))

    which is the sum of v_n / (z - p_n) at z = 2 i tan(a), over cos(a): so written it is finite at a = pi / 2 too. All
    backends but ``reference`` need memory for their inputs and outputs alone, not for H times J numbers.

    Args:
        v: complex (D, R, H) weights, one of each conjugate pair.
        pole: complex (D, H), off the imaginary axis.
        angle: (J,) in radians, on any device, best float64; it has no gradient.
        backend: one of ``BACKENDS``; by default the first of them that can run these tensors.

    Returns:
        complex (D, R, J).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, or an unknown backend.
        RuntimeError: the named backend cannot run these tensors.

    Example:
        >>> import torch
        >>> one, zero = torch.ones(1, 1, 1, dtype=torch.complex64), torch.zeros(1)
        >>> cauchy(one, -0.5 * one[0], zero).item()
        (4+0j)

    Reference: Gu et al., S4, arXiv 2111.00396. Differs: both poles of a pair are taken over their common denominator,
    in real numbers; the authors' kernels sum complex quotients.
    """
    if v.ndim != 3 or pole.shape != (v.shape[0], v.shape[2]) or angle.ndim != 1:
        raise ValueError(
            "cauchy: v is (D, R, H), pole (D, H) with one of each conjugate pair, and angle (J,); "
            f"got {tuple(v.shape)}, {tuple(pole.shape)} and {tuple(angle.shape)}"
        )
    if not v.is_complex() or (pole.dtype, pole.device) != (v.dtype, v.device):
        raise ValueError(
            f"cauchy: pole is {pole.dtype} on {pole.device} and v {v.dtype} on {v.device}; both must be of one complex "
            "type on one device"
        )
    sine, cosine = (part.detach().to(v.real) for part in (angle.sin(), angle.cos()))
    return choose("cauchy", BACKENDS, backend, v)(v, pole, sine, cosine)
