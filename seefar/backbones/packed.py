"""The plain column over packed rows: pictures of any size, several to a row, each seen as if it were alone.

B batch, N tokens of a row, D channels, M pictures, C colour channels, p side of a patch.
"""

from __future__ import annotations

from torch import Tensor, nn

from seefar.backbones.attention_pool import AttentionPool
from seefar.mixers.block import Stack
from seefar.positions.absolute import FactorisedGrid
from seefar.sequence import VisualSequence


class Packed(nn.Module):
    """Rows of packed patches to the logits of each picture in them.

    x = W token + b + place(box);    x = norm(column(x)), tokens meeting only those of their own picture;
    logits = W_h pool(x of a picture) + b_h

    A picture's logits do not depend on what else is in its row, nor on where in the row it stands; no gradient flows
    from one picture to another.

    Args:
        column: what mixes the tokens; each of its mixers must know ``segments``, as ``Block`` around ``Attention``
            does.
        place: reads positions off boxes.
        pool: one vector for each picture.
        features: of a token as it is packed, C p p.
        dim: width D.
        norm: of the column's output, None for RMSNorm with eps 1e-5.
        classes: of the head; 0 for none, and features come out.

    Shapes:
        a ``VisualSequence`` of (B, N, C p p), such as ``pack_images`` gives -> (M, classes), or (M, D) where
        ``classes`` is 0, in the order of ``images_in``.

    Reference: Dehghani et al., NaViT, arXiv 2307.06304.
    """

    def __init__(
        self,
        column: Stack,
        place: FactorisedGrid,
        pool: AttentionPool,
        *,
        features: int,
        dim: int,
        norm: nn.Module | None = None,
        classes: int = 0,
    ) -> None:
        super().__init__()
        if min(features, dim) < 1 or classes < 0:
            raise ValueError(
                f"Packed: features and dim must be positive, classes not negative, got {features}, {dim}, {classes}"
            )
        self.project = nn.Linear(features, dim)
        self.place, self.column, self.pool = place, column, pool
        self.norm = nn.RMSNorm(dim, eps=1e-5) if norm is None else norm
        self.head: nn.Module = nn.Identity()
        if classes:
            self.head = nn.Linear(dim, classes)
            nn.init.trunc_normal_(self.head.weight, std=0.02)
            nn.init.zeros_(self.head.bias)

    def forward(self, seq: VisualSequence) -> Tensor:
        """Logits of the pictures in ``seq``, row by row."""
        return self.head(self.pool(self.encode(seq).tokens, seq.segment))

    def encode(self, seq: VisualSequence) -> VisualSequence:
        """The tokens after the column, still packed."""
        if seq.tokens.shape[-1] != self.project.in_features:
            raise ValueError(
                f"Packed: a token here has {self.project.in_features} features (channels x patch x patch), got "
                f"{seq.tokens.shape[-1]}; cut the pictures with pack_images and the patch of this network"
            )
        if not seq.mask.all() and (seq.segment[~seq.mask] >= 0).any():
            raise ValueError("Packed: padding bears the segment of a picture; it must be -1, as pack_images gives it")

        def look(tokens: Tensor) -> Tensor:
            x = self.project(tokens) + self.place(seq.box)
            return self.norm(self.column(x, segments=seq.segment)[0])

        return seq.map(look)
