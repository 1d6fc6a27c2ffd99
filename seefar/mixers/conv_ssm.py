"""Convolutional state space: damped waves at each place of a picture, fed and read through small kernels over space.

B batch, N frames, H W places, D channels, S states of a place, P = S / 2 conjugate pairs, k side of a kernel.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.mixers.base import Mixer
from seefar.mixers.dplr import full_precision, log_steps, steps
from seefar.mixers.hippo import legs_matrix, normal_form
from seefar.ops.linear_scan import linear_scan


class ConvSSMState(NamedTuple):
    """The states of every place: real parts of the conjugate pairs, then imaginary parts."""

    x_BHWS: Tensor


class ConvSSM(Mixer):
    """Every place of a picture is a linear system over time; what drives it and what is read of it are convolutions.

    x_n = Ab x_{n-1} + Bb * u_n,    y_n = 2 Re(C * x_n),    Ab = exp(dt lambda), Bb = (Ab - 1) / lambda B

    with * a k x k convolution over space, zeros beyond the edge. Tokens are pictures: x is (B, N, H, W, D), of any
    height and width, N frames of it. All frames at once: two convolutions and one ``linear_scan``. The kernel of the
    state is a point, so that products of it stay one: two 3 x 3 kernels make a 5 x 5 one, and a scan over N frames
    one as large as the picture.

    Real parts of lambda are clipped to -1e-4, so the system is stable whatever training does.

    Args:
        states: S, even; None for dim.
        blocks: equal parts that the states are cut into; each starts as a HiPPO-LegS memory without its one rank.
        kernel: k of B and of C, odd.
        dt: lowest and highest step; each pair of states draws its own, evenly in log.
        rate: step of the input over that of training; set ``mixer.rate = 0.5`` when it is sampled twice as finely.

    Reference: Smith et al., ConvSSM, arXiv 2310.19694; Smith et al., S5, arXiv 2208.04933. Differs: kernels start from
    a normal distribution that is not cut off.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int | None = None,
        blocks: int = 1,
        kernel: int = 3,
        dt: tuple[float, float] = (1e-3, 1e-1),
        rate: float = 1.0,
    ) -> None:
        super().__init__()
        S = dim if states is None else states
        if blocks < 1 or S % blocks:
            raise ValueError(f"ConvSSM: blocks must divide the {S} states, got {blocks}")
        self.rate = rate
        A, _ = legs_matrix(S // blocks)
        one_P, basis = normal_form(A, torch.sqrt(torch.arange(len(A), dtype=torch.float64) + 0.5))
        basis_SP = torch.block_diag(*[basis] * blocks).to(torch.complex64)
        self.log_dt = nn.Parameter(log_steps(S // 2, dt))
        self.A_real = nn.Parameter(one_P.real.float().repeat(blocks))
        self.A_imag = nn.Parameter(one_P.imag.float().repeat(blocks))
        B_SDkk, C_DSkk = he_kernel(S, dim, kernel), he_kernel(dim, S, kernel)
        self.B = nn.Parameter(torch.view_as_real(torch.einsum("sp,sdkl->pdkl", basis_SP.conj(), B_SDkk + 0j)))
        self.C = nn.Parameter(torch.view_as_real(torch.einsum("dskl,sp->dpkl", C_DSkk + 0j, basis_SP)))

    def forward(self, x: Tensor, state: ConvSSMState | None = None) -> tuple[Tensor, ConvSSMState]:
        """Filter x (B, N, H, W, D), going on from ``state``."""
        D, P, dtype = len(self.C), len(self.log_dt), full_precision(self)
        check_pictures(x, D, None if state is None else state.x_BHWS[..., :1])
        gain_P, B_PDkk, C_DPkk = self.discrete()
        pushes_BNHWS = conv_frames(x.to(dtype), torch.cat([B_PDkk.real, B_PDkk.imag]))
        pushes_BNHWP = torch.complex(*pushes_BNHWS.split(P, -1))
        start_BHWP = None if state is None else torch.complex(*state.x_BHWS.split(P, -1))
        x_BNHWP = linear_scan(gain_P.expand_as(pushes_BNHWP), pushes_BNHWP, start_BHWP)
        x_BNHWS = torch.cat([x_BNHWP.real, x_BNHWP.imag], -1)
        y_BNHWD = conv_frames(x_BNHWS, torch.cat([2 * C_DPkk.real, -2 * C_DPkk.imag], 1))
        # a copy: a view would keep all frames in memory
        return y_BNHWD.to(x.dtype), ConvSSMState(x_BNHWS[:, -1].clone())

    def discrete(self) -> tuple[Tensor, Tensor, Tensor]:
        """Ab (P,), Bb (P, D, k, k) and C (D, P, k, k) of a step, complex."""
        eigenvalue_P = torch.complex(self.A_real.clamp(max=-1e-4), self.A_imag)
        exponent_P = steps(self.log_dt, self.rate) * eigenvalue_P
        held_P = torch.expm1(exponent_P) / eigenvalue_P
        B_PDkk, C_DPkk = torch.view_as_complex(self.B), torch.view_as_complex(self.C)
        return exponent_P.exp(), held_P[:, None, None, None] * B_PDkk, C_DPkk


class ConvS5(Mixer):
    """A ``ConvSSM``, then a residual network of two convolutions on each frame.

    y = gelu(z + R(z)),    z = ConvSSM(x),    R = conv gelu norm conv gelu norm

    Args:
        states: of each place, even; None for dim.
        blocks: see ``ConvSSM``.
        kernel: side of all kernels, odd.
        groups: of channels that are normalised together over a frame; they divide dim.
        dt: lowest and highest step, drawn evenly in log.

    Reference: Smith et al., arXiv 2310.19694. Differs: see ``ConvSSM``; the exact gelu. The layers of the paper are
    ``PostNorm(dim, ConvS5(dim))``.
    """

    causal, bounded = True, True

    def __init__(
        self,
        dim: int,
        *,
        states: int | None = None,
        blocks: int = 1,
        kernel: int = 3,
        groups: int = 32,
        dt: tuple[float, float] = (1e-3, 1e-1),
    ) -> None:
        super().__init__()
        if groups < 1 or dim % groups:
            raise ValueError(f"ConvS5: groups must divide dim={dim}, got {groups}")
        self.ssm = ConvSSM(dim, states=states, blocks=blocks, kernel=kernel, dt=dt)

        def half() -> list[nn.Module]:
            return [nn.GroupNorm(groups, dim, eps=1e-6), nn.GELU(), nn.Conv2d(dim, dim, kernel, padding="same")]

        self.refine = nn.Sequential(*half(), *half())

    def forward(self, x: Tensor, state: ConvSSMState | None = None) -> tuple[Tensor, ConvSSMState]:
        """Mix x (B, N, H, W, D), going on from ``state``."""
        z, end = self.ssm(x, state)
        flat = z.flatten(0, 1).permute(0, 3, 1, 2)
        return F.gelu(flat + self.refine(flat)).permute(0, 2, 3, 1).unflatten(0, z.shape[:2]), end


def conv_frames(x_BNHWC: Tensor, kernel: Tensor) -> Tensor:
    """(B, N, H, W, E) each frame of (B, N, H, W, C) convolved with a kernel (E, C, k, k), zeros beyond the edge."""
    flat = x_BNHWC.flatten(0, 1).permute(0, 3, 1, 2)
    return F.conv2d(flat, kernel, padding="same").permute(0, 2, 3, 1).unflatten(0, x_BNHWC.shape[:2])


def he_kernel(out: int, into: int, side: int) -> Tensor:
    """(out, into, side, side) normal with variance 2 / (into side^2).

    Raises:
        ValueError: an even side, which has no middle, so that the picture would shift.
    """
    if side < 1 or side % 2 == 0:
        raise ValueError(f"a kernel over space needs an odd side, such as 3, got {side}")
    return torch.randn(out, into, side, side) * (2 / (into * side**2)) ** 0.5


def check_pictures(x: Tensor, dim: int, past: Tensor | None) -> None:
    """Refuse what is no (B, N, H, W, dim), or whose pictures are not those of the ``past`` state (B, H, W, ...).

    Raises:
        ValueError: it is either.
    """
    if x.ndim != 5 or x.shape[-1] != dim:
        raise ValueError(f"pictures over time are (B, N, H, W, {dim}), got {tuple(x.shape)}")
    if past is not None and past.shape[:3] != (len(x), *x.shape[2:4]):
        (B, H, W), (b, _, h, w, _) = past.shape[:3], x.shape
        raise ValueError(
            f"the stream so far had {B} clips of {H} x {W} places, now come {b} of {h} x {w}; begin anew without state"
        )
