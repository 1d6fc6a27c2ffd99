"""The plain column: patches, a place for each, one block after another at one width, and a summary to read off.

B batch, C colour channels, T frames, N tokens of a frame, D channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seefar.embed.base import Embed
from seefar.mixers.base import Mixer
from seefar.positions.absolute import LearnedGrid
from seefar.sequence import VisualSequence

CLASS_TOKENS = ("first", "middle", "last", "none")


class Plain(nn.Module):
    """A picture to logits, at one resolution all the way; a ViT, a Vim or any other column, by its blocks.

    x = embed(picture) + place;    x gets a class token;    x = norm(column(x));    logits = W x_class + b

    The class token has a place of its own, which moves with it: dropping patches (``keep``) or another size of
    picture never hands a patch's place to the class token. It begins, as the head does, as a normal of deviation 0.02.

    Args:
        embed: pixels to tokens, such as ``Patches``.
        column: what mixes them, such as a ``Stack`` of ``Block``; a mixer that knows its grid (``Scan``) needs
            cls="none".
        grid: (H, W) tokens of the picture that places are learnt for; other pictures get theirs by interpolation.
        cls: where the class token stands among N patches: "first", "middle" (before patch N // 2), "last"; "none" reads
            the mean of the patches.
        norm: of the column's output, None for RMSNorm with eps 1e-5.
        classes: of the head; 0 for none, and features come out.

    Shapes:
        (B, C, H, W) -> (B, classes), or (B, D) where ``classes`` is 0.

    Raises:
        ValueError: an unknown ``cls``; pixels that the embed refuses; ``keep`` of another shape or ragged.

    Reference: Dosovitskiy et al., ViT, arXiv 2010.11929; the class token in the middle: Zhu et al., arXiv 2401.09417.
    """

    def __init__(
        self,
        embed: Embed,
        column: Mixer,
        *,
        grid: tuple[int, int],
        cls: str = "first",
        norm: nn.Module | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if cls not in CLASS_TOKENS:
            raise ValueError(f"Plain: cls must be one of {', '.join(CLASS_TOKENS)}, got {cls!r}")
        if classes < 0:
            raise ValueError(f"Plain: classes must not be negative, got {classes}")
        self.cls = cls
        self.embed = embed
        self.place = LearnedGrid(embed.dim, grid)
        if cls != "none":
            self.cls_token = nn.Parameter(torch.empty(embed.dim))
            self.cls_place = nn.Parameter(torch.empty(embed.dim))
            for vector in (self.cls_token, self.cls_place):
                nn.init.trunc_normal_(vector, std=0.02)
        self.column = column
        self.norm = nn.RMSNorm(embed.dim, eps=1e-5) if norm is None else norm
        self.head: nn.Module = nn.Identity()
        if classes:
            self.head = nn.Linear(embed.dim, classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward(self, pixels: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits of pictures.

        Args:
            pixels: (B, C, H, W) float.
            keep: (B, N) bool, the patches to look at, equally many in every row; None for all.
        """
        if pixels.ndim != 4:
            raise ValueError(f"Plain: pixels must be (B, C, H, W), got {tuple(pixels.shape)}; films go to encode")
        seq = self.embed(pixels[:, None], torch.zeros(1))
        return self.head(self._look(seq.tokens, _raster(seq), keep)[1])

    def encode(self, pixels: Tensor, seconds: Tensor) -> VisualSequence:
        """The patches of a film after the column, every frame seen by itself; class tokens are left out.

        Args:
            pixels: (B, T, C, H, W) float.
            seconds: (T,) or (B, T).
        """
        seq = self.embed(pixels, seconds)
        H, W = _raster(seq)

        def look(tokens: Tensor) -> Tensor:
            return self._look(tokens.reshape(-1, H * W, tokens.shape[-1]), (H, W))[0].reshape(tokens.shape)

        return seq.map(look)

    def class_index(self, patches: int) -> int:
        """Where the class token stands among that many patches."""
        if self.cls == "none":
            raise ValueError("Plain: there is no class token; build it with cls='first', 'middle' or 'last'")
        return {"first": 0, "middle": patches // 2, "last": patches}[self.cls]

    def _look(self, tokens: Tensor, grid: tuple[int, int], keep: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The patches (B, N, D) after the column, and what the head reads (B, D)."""
        tokens = tokens + self.place(grid)
        if keep is not None:
            tokens = tokens.gather(1, _kept(keep, tokens)[..., None].expand(-1, -1, tokens.shape[-1]))
        if self.cls == "none":
            mixed = self.norm(self.column(tokens)[0])
            return mixed, mixed.mean(1)
        at = self.class_index(tokens.shape[1])
        summary = (self.cls_token + self.cls_place).expand(len(tokens), 1, -1)
        mixed = self.norm(self.column(torch.cat([tokens[:, :at], summary, tokens[:, at:]], 1))[0])
        return torch.cat([mixed[:, :at], mixed[:, at + 1 :]], 1), mixed[:, at]


def _raster(seq: VisualSequence) -> tuple[int, int]:
    if seq.grid is None:
        raise ValueError("Plain: the embed must give a full raster of tokens; this one gave none, use Patches")
    return seq.grid[1:]


def _kept(keep: Tensor, tokens: Tensor) -> Tensor:
    """(B, K) the numbers of the patches to keep."""
    if keep.dtype != torch.bool or keep.shape != tokens.shape[:2]:
        wanted = tuple(tokens.shape[:2])
        raise ValueError(f"Plain: keep must be bool {wanted}, got {keep.dtype} {tuple(keep.shape)}")
    counts = keep.sum(1)
    if not counts[0] or (counts != counts[0]).any():
        raise ValueError(f"Plain: keep must name equally many patches in every row, got {counts.tolist()}")
    return keep.nonzero()[:, 1].reshape(len(keep), -1)
