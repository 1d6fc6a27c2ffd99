"""From a map of features to the activity of cells, each of which reads the map at one place.

B trials, N units, D features, h rows, w columns.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GaussianReadout(nn.Module):
    """Each cell reads the features at the centre of its receptive field, which its place in the cortex tells.

    y_n = a_n . map(mu_n + S_n e + shift) + b_n,    mu_n = tanh(W_2 elu(W_1 xy_n)),    e ~ N(0, 1) in training, else 0

    ``map(.)`` mixes the four nearest features (bilinear), the corners of the map being the centres of its corner cells;
    places lie in [-1, 1] before the shift. The noise S_n e lets gradients come from around; it is learnt and shrinks.

    Args:
        dim: D.
        xy: (N, 2) or more columns, places of the cells in the cortex, in any unit; the first two columns are used.
        hidden: width of the layer from the cortex to the picture.
        sigma: largest entry of S at the start.

    Shapes:
        features (B, D, h, w), shift (B, 2) or None -> (B, N).

    Raises:
        ValueError: features of another width; places that aren't (N, 2) or that are all one.

    Reference: Lurz et al., arXiv 2011.05010; neuralpredictors' ``FullGaussian2d`` with a grid predictor, as V1T uses it
    (arXiv 2302.03023).
    """

    xy: Tensor

    def __init__(self, dim: int, xy: Tensor, *, hidden: int = 30, sigma: float = 0.1) -> None:
        super().__init__()
        if xy.ndim != 2 or xy.shape[1] < 2 or not len(xy):
            raise ValueError(f"GaussianReadout: xy must be (N, 2), a place for each cell, got {tuple(xy.shape)}")
        if not sigma > 0:
            raise ValueError(f"GaussianReadout: sigma must be positive, got {sigma}")
        centred = xy[:, :2].float() - xy[:, :2].float().mean(0)
        if not centred.abs().max() > 0:
            raise ValueError("GaussianReadout: all cells have one place; nothing tells their receptive fields apart")
        self.register_buffer("xy", centred / centred.abs().max())
        self.place = nn.Sequential(nn.Linear(2, hidden), nn.ELU(), nn.Linear(hidden, 2), nn.Tanh())
        self.sigma = nn.Parameter(torch.empty(len(xy), 2, 2).uniform_(-sigma, sigma))
        self.weight = nn.Parameter(torch.full((len(xy), dim), 1 / dim))
        self.bias = nn.Parameter(torch.zeros(len(xy)))

    @property
    def centres(self) -> Tensor:
        """(N, 2) x y, where each cell reads while the eye rests, in [-1, 1]."""
        return self.place(self.xy)

    def forward(self, features: Tensor, shift: Tensor | None = None) -> Tensor:
        """Activity of each cell, before any nonlinearity."""
        if features.ndim != 4 or features.shape[1] != self.weight.shape[1]:
            wanted = self.weight.shape[1]
            raise ValueError(f"GaussianReadout: features must be (B, {wanted}, h, w), got {tuple(features.shape)}")
        at = self.centres.expand(len(features), -1, -1)
        if self.training:
            at = at + torch.einsum("ncd,bnd->bnc", self.sigma, torch.randn_like(at))
        at = at.clamp(-1, 1)
        if shift is not None:
            at = at + shift[:, None]
        read = F.grid_sample(features, at[:, :, None], align_corners=True)[..., 0]
        return torch.einsum("bdn,nd->bn", read, self.weight) + self.bias
