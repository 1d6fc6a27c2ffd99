"""The part of an encoder that all animals share: pictures to a map of features, told what the animal does.

B trials, C colour channels, H height, W width, K numbers of behaviour, D features, h rows, w columns.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seefar.brain.behaviour import BehaviourMLP
from seefar.embed.base import Embed
from seefar.mixers.base import Mixer
from seefar.mixers.softmax import Attention
from seefar.positions.absolute import LearnedGrid


class AttentionCore(nn.Module):
    """Patches, a class token and blocks; before each block the behaviour is added to all tokens.

    x <- block_l(x + behaviour_l(b)),    the map is x without the class token, as the raster it came from

    Places and class token begin as normals of deviation 1, the blocks' matrices as normals of 0.02 cut at two units.

    Args:
        embed: pixels to tokens, such as ``SlidingPatches``.
        blocks: one after another, such as ``Block``.
        grid: (h, w) tokens of the picture that places are learnt for.
        behaviours: K; 0 for a core that isn't told.

    Shapes:
        pictures (B, C, H, W), behaviour (B, K) or None -> (B, D, h, w).

    Raises:
        ValueError: no behaviour for a core that was built with some.

    Reference: Li et al., V1T, arXiv 2302.03023. Differs: no dropout. The class token's output is left out of the map;
    nothing else reads it, so that only the patches learn from the last block.
    """

    def __init__(self, embed: Embed, blocks: Sequence[Mixer], *, grid: tuple[int, int], behaviours: int = 0) -> None:
        super().__init__()
        self.dim, self.behaviours = embed.dim, behaviours
        self.embed = embed
        self.place = LearnedGrid(embed.dim, grid)
        self.cls_token = nn.Parameter(torch.randn(embed.dim))
        self.blocks = nn.ModuleList(blocks)
        self.told = nn.ModuleList([BehaviourMLP(behaviours, embed.dim) for _ in blocks] if behaviours else [])
        nn.init.normal_(self.place.table)
        for linear in (part for group in (self.blocks, self.told) for part in group.modules()):
            if isinstance(linear, nn.Linear):
                nn.init.trunc_normal_(linear.weight, std=0.02)
                if linear.bias is not None:
                    nn.init.zeros_(linear.bias)

    def forward(self, pictures: Tensor, behaviour: Tensor | None = None) -> Tensor:
        """The map of each trial."""
        behaviour = _told("AttentionCore", behaviour, self.behaviours)
        seq = self.embed(pictures[:, None], torch.zeros(1))
        if seq.grid is None:
            raise ValueError("AttentionCore: the embed must give a full raster of tokens, such as SlidingPatches does")
        h, w = seq.grid[1:]
        x = torch.cat([self.cls_token.expand(len(pictures), 1, -1), seq.tokens + self.place((h, w))], 1)
        for i, block in enumerate(self.blocks):
            if behaviour is not None:
                x = x + self.told[i](behaviour)[:, None]
            x = block(x)[0]
        return x[:, 1:].mT.unflatten(2, (h, w))


class ConvCore(nn.Module):
    """Convolutions, one after another; the behaviour is added to all places before each nonlinearity.

    x <- elu(norm(conv_l(x)) + behaviour_l(b)),    the first conv_l full, the others depthwise between two of 1 x 1

    Args:
        dim: D.
        layers: how many.
        kernels: side of the first convolution and of the others, odd.
        stride: of the first convolution.
        in_channels: C.
        behaviours: K; 0 for a core that isn't told.

    Shapes:
        pictures (B, C, H, W), behaviour (B, K) or None -> (B, D, H / stride, W / stride), rounded up.

    Raises:
        ValueError: no behaviour for a core that was built with some; an even kernel.

    Reference: Lurz et al., arXiv 2011.05010, the baseline of V1T. Differs: behaviour comes in as it does in
    ``AttentionCore``, not as further colours.
    """

    def __init__(
        self,
        dim: int,
        *,
        layers: int = 4,
        kernels: tuple[int, int] = (9, 7),
        stride: int = 1,
        in_channels: int = 1,
        behaviours: int = 0,
    ) -> None:
        super().__init__()
        if layers < 1 or any(side < 1 or side % 2 == 0 for side in kernels):
            raise ValueError(f"ConvCore: needs a layer and odd kernels, got {layers} and {kernels}")
        self.dim, self.behaviours = dim, behaviours
        (first, later), sides = kernels, [side // 2 for side in kernels]
        convs: list[nn.Module] = [nn.Conv2d(in_channels, dim, first, stride=stride, padding=sides[0], bias=False)]
        for _ in range(layers - 1):
            depthwise = nn.Conv2d(dim, dim, later, padding=sides[1], groups=dim, bias=False)
            convs.append(nn.Sequential(nn.Conv2d(dim, dim, 1), depthwise, nn.Conv2d(dim, dim, 1, bias=False)))
        self.convs = nn.ModuleList(convs)
        self.norms = nn.ModuleList([nn.BatchNorm2d(dim) for _ in convs])
        self.told = nn.ModuleList([BehaviourMLP(behaviours, dim) for _ in convs] if behaviours else [])

    def forward(self, pictures: Tensor, behaviour: Tensor | None = None) -> Tensor:
        """The map of each trial."""
        behaviour = _told("ConvCore", behaviour, self.behaviours)
        x = pictures
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            x = norm(conv(x))
            if behaviour is not None:
                x = x + self.told[i](behaviour)[..., None, None]
            x = nn.functional.elu(x)
        return x


def full_width_attention(dim: int, heads: int) -> Attention:
    """Attention whose heads are each as wide as the tokens, dim in place of dim / heads; all tokens see all.

    Reference: Li et al., V1T, arXiv 2302.03023.
    """
    mixer = Attention(dim * heads, heads, causal=False)
    mixer.q_proj, mixer.k_proj, mixer.v_proj = (nn.Linear(dim, dim * heads, bias=False) for _ in range(3))
    mixer.o_proj = nn.Linear(dim * heads, dim)
    return mixer


def _told(who: str, behaviour: Tensor | None, wanted: int) -> Tensor | None:
    """The behaviour to use, None for a core that isn't told."""
    if not wanted:
        return None
    if behaviour is None or behaviour.shape[-1] != wanted:
        got = None if behaviour is None else tuple(behaviour.shape)
        raise ValueError(f"{who}: was built for behaviour (B, {wanted}), got {got}; build it with behaviours=0 without")
    return behaviour
