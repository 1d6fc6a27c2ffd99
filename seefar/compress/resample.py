"""A fixed number of learned queries that read any number of tokens: the Q-Former.

B batch, N tokens, M keys, C their width, Q queries, L words of text, D width of the queries.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seefar.compress.base import Compressor, check_budget
from seefar.ops.attention import attention
from seefar.positions.frames import LearnedFrames
from seefar.sequence import VisualSequence

EPS = 1e-12


class Words(nn.Module):
    """A vector for each word of a text and one for its place, added.

    Args:
        dim: width D of the queries that read beside the text.
        vocabulary: words known.
        longest: words a text may have.
    """

    def __init__(self, dim: int, vocabulary: int = 30522, longest: int = 512) -> None:
        super().__init__()
        self.word, self.place = nn.Embedding(vocabulary, dim), nn.Embedding(longest, dim)
        for table in (self.word, self.place):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """(B, L, D) of int64 ids; those below 0 are padding, and get the vector of word 0."""
        longest, vocabulary = len(self.place.weight), len(self.word.weight)
        if ids_BL.ndim != 2 or ids_BL.is_floating_point():
            raise ValueError(f"Words: a text is (B, L) int64 ids, got {tuple(ids_BL.shape)} {ids_BL.dtype}")
        if ids_BL.shape[1] > longest or (ids_BL.numel() and ids_BL.max() >= vocabulary):
            raise ValueError(
                f"Words: a text may have {longest} words, with ids below {vocabulary}; got {ids_BL.shape[1]} words, "
                f"the highest id is {int(ids_BL.max())}"
            )
        return self.word(ids_BL.clamp(min=0)) + self.place.weight[: ids_BL.shape[1]]


class QueryResampler(Compressor):
    """Makes ``queries`` tokens of any number: learned queries look at one another, then at the tokens, layer by layer.

    In each layer, over x = [queries, text], with norm(x + y) after each of its parts (post-norm):

        x <- self-attention(x; [past inputs of this layer, x])
        x_queries <- cross-attention(x_queries; [past tokens, tokens])      in every ``cross_every``-th layer
        x_queries <- MLP(x_queries),    x_text <- MLP'(x_text)

    Called as a compressor there is no past. ``Stream`` reads frame by frame, with a memory for each kind of past.

    Args:
        source: width of the tokens that are read.
        dim: width D of the queries, and of what comes out; the MLPs are four times as wide.
        queries: tokens that come out.
        depth: layers.
        heads: of every attention.
        cross_every: the first layer and then every so-many-th one looks at the tokens.
        text: embeds a text that is read beside the queries, so that they look for what it says; None for no text.
        places: vectors added to the tokens by the number of their frame; None for none.

    Shapes:
        The query of ``compress(seq, budget, query)`` is the text, (B, L) int64 ids with -1 on padding. Every token out
        has seen its whole row, so its span and box are those of the row and its mass an equal share of the row's.

    Raises:
        ValueError: a budget below ``queries``, another width, a text without ``text``, several films in a row, or
            tokens that are no raster where ``places`` are added.

    Reference: Li et al., BLIP-2, arXiv 2301.12597; Dai et al., InstructBLIP, arXiv 2305.06500, whose released weights
        ``load_instructblip`` takes. Differs: no dropout.
    """

    def __init__(
        self,
        source: int,
        dim: int = 768,
        *,
        queries: int = 32,
        depth: int = 12,
        heads: int = 12,
        cross_every: int = 2,
        text: Words | None = None,
        places: LearnedFrames | None = None,
    ) -> None:
        super().__init__()
        if min(queries, depth, cross_every) < 1 or heads < 1 or dim % heads:
            raise ValueError(
                "QueryResampler: needs at least one query, one layer and heads that divide dim, got "
                f"{queries=}, {depth=}, {cross_every=}, {heads=}, {dim=}"
            )
        self.source, self.text, self.places = source, text, places
        self.queries = nn.Parameter(torch.randn(queries, dim) * 0.02)
        self.norm = nn.LayerNorm(dim, eps=EPS)
        self.layers = nn.ModuleList(
            _Layer(dim, heads, source if i % cross_every == 0 else None, text is not None) for i in range(depth)
        )

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """``queries`` tokens a row, which have read the whole row and the text."""
        check_budget("QueryResampler", budget)
        if budget < len(self.queries):
            raise ValueError(
                f"QueryResampler: it makes {len(self.queries)} tokens, above the budget of {budget}; "
                f"build it with queries={budget} or fewer"
            )
        if self.places is not None:
            if seq.grid is None:
                raise ValueError("QueryResampler: places of frames need tokens that still are a raster; resample first")
            T, size = seq.grid[0], seq.grid[1] * seq.grid[2]
            places = self.places(0, T, T).repeat_interleave(size, 0)
            seq = seq.map(lambda tokens: tokens + places)
        if ((seq.segment != seq.segment[:, :1]) & seq.mask).any():
            raise ValueError("QueryResampler: a row holds several films; give each film a row of its own")
        if not len(seq):
            raise ValueError("QueryResampler: there is no token to read")
        real = None if seq.mask.all() else seq.mask
        tokens, _ = self.read(seq.tokens.masked_fill(~seq.mask[..., None], 0), query, real=real)
        return told(tokens, [seq])

    def read(
        self,
        tokens_BNC: Tensor,
        text_BL: Tensor | None = None,
        *,
        past: Sequence[VisualSequence | None] | None = None,
        real: Tensor | None = None,
    ) -> tuple[Tensor, list[Tensor]]:
        """The bare network, on tensors.

        Args:
            tokens_BNC: what the queries look at.
            text_BL: ids, -1 on padding.
            past: for each layer what it was given earlier, to be looked at beside what it is given now.
            real: (B, N), False on tokens that must not be seen.

        Returns:
            The queries (B, Q, D), and what each layer was given (B, Q + L, D).
        """
        B, _, width = tokens_BNC.shape
        if width != self.source:
            raise ValueError(f"QueryResampler: reads tokens of width source={self.source}, got {width}")
        x, shown = self.queries.expand(B, -1, -1), None
        if text_BL is not None:
            if self.text is None:
                raise ValueError("QueryResampler: was built without text; build it with text=Words(dim)")
            if len(text_BL) != B:
                raise ValueError(f"QueryResampler: {B} rows of tokens need as many texts, got {len(text_BL)}")
            x = torch.cat([x, self.text(text_BL)], 1)
            if (text_BL < 0).any():
                shown = F.pad(text_BL >= 0, (len(self.queries), 0), value=True)
        x, given = self.norm(x), []
        for layer, earlier in zip(self.layers, past or [None] * len(self.layers), strict=True):
            given.append(x)
            x = layer(x, tokens_BNC, len(self.queries), earlier, shown, real)
        return x[:, : len(self.queries)], given


def load_instructblip(resampler: QueryResampler, weights: Mapping[str, Tensor]) -> None:
    """Fill a resampler with the Q-Former of an InstructBLIP, from its whole state dict in transformers' names.

    Weights of the language model and of the eyes are passed over, those of the text where the resampler has none;
    ``places``, which InstructBLIP lacks, stay as they are.

    Raises:
        ValueError: a weight is missing or of another size; nothing is copied then.
    """
    wanted = {name: value for name, value in resampler.state_dict().items() if not name.startswith("places.")}
    there = {name: _official(name) for name in wanted}
    missing = sorted(there[name] for name in wanted if there[name] not in weights)
    if missing:
        raise ValueError(f"load_instructblip: the weights lack {', '.join(missing[:4])} ({len(missing)} in all)")
    found = {name: weights[there[name]] for name in wanted}
    found["queries"] = found["queries"].reshape(found["queries"].shape[-2:])
    unlike = [f"{there[n]} {tuple(found[n].shape)}" for n in wanted if found[n].shape != wanted[n].shape]
    depth = sum(f"qformer.encoder.layer.{i}.output_query.dense.bias" in weights for i in range(1000))
    if unlike or depth != len(resampler.layers):
        raise ValueError(
            f"load_instructblip: build the resampler of the size of the weights, with depth={depth}; "
            f"of another size are {', '.join(unlike[:4]) or 'none'}"
        )
    resampler.load_state_dict(found, strict=False)


def told(tokens_BQD: Tensor, seen: Sequence[VisualSequence]) -> VisualSequence:
    """The queries as tokens that each stand for an equal share of everything seen."""
    B, Q, _ = tokens_BQD.shape
    mask, span, box, mass = (torch.cat([getattr(s, n) for s in seen], 1) for n in ("mask", "span", "box", "mass"))
    some, off = mask.any(1)[:, None].expand(B, Q), ~mask[..., None]

    def hull(values: Tensor) -> Tensor:
        low, high = values.chunk(2, -1)
        ends = [low.masked_fill(off, torch.inf).amin(1), high.masked_fill(off, -torch.inf).amax(1)]
        return torch.cat(ends, -1)[:, None].expand(B, Q, -1).masked_fill(~some[..., None], 0)

    share = (mass.masked_fill(~mask, 0).sum(1, keepdim=True) / Q).expand(B, Q)
    segment = seen[-1].segment[:, :1].expand(B, Q).masked_fill(~some, -1)
    return VisualSequence(tokens_BQD.masked_fill(~some[..., None], 0), hull(span), hull(box), share, segment, some)


class _Attend(nn.Module):
    """norm(x + W_o attention(W_q x, W_k source, W_v source))."""

    def __init__(self, dim: int, heads: int, source: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = nn.Linear(dim, dim), nn.Linear(source, dim), nn.Linear(source, dim)
        self.out, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim, eps=EPS)

    def forward(self, x_BND: Tensor, source_BMC: Tensor, real_BM: Tensor | None) -> Tensor:
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for y in (self.query(x_BND), self.key(source_BMC), self.value(source_BMC))
        )
        meet = None
        if real_BM is not None:
            meet = (torch.zeros(x_BND.shape[:2], dtype=torch.int64, device=x_BND.device), (~real_BM).long())
        return self.norm(x_BND + self.out(attention(q, k, v, segments=meet).transpose(1, 2).flatten(2)))


class _MLP(nn.Module):
    """norm(x + W_2 gelu(W_1 x))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim), nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.down(F.gelu(self.up(x))))


class _Layer(nn.Module):
    def __init__(self, dim: int, heads: int, source: int | None, text: bool) -> None:
        super().__init__()
        self.self_attention = _Attend(dim, heads, dim)
        self.cross_attention = None if source is None else _Attend(dim, heads, source)
        self.mlp, self.text_mlp = _MLP(dim), _MLP(dim) if text else None

    def forward(
        self, x: Tensor, tokens: Tensor, Q: int, past: VisualSequence | None, shown: Tensor | None, real: Tensor | None
    ) -> Tensor:
        source, S = x, x.shape[1]
        if past is not None:
            source = torch.cat([past.tokens, x], 1)
            if shown is not None:
                # in a store the slots get out of step, but each keeps its box: column s of a raster of 1 x S
                slot = (past.box[..., 1] * S).round().long()
                shown = torch.cat([shown.gather(1, slot), shown], 1)
        x = self.self_attention(x, source, shown)
        asked, text = x[:, :Q], x[:, Q:]
        if self.cross_attention is not None:
            asked = self.cross_attention(asked, tokens, real)
        asked = self.mlp(asked)
        return asked if self.text_mlp is None or S == Q else torch.cat([asked, self.text_mlp(text)], 1)


def _official(name: str) -> str:
    """The name that transformers gives to a weight of ours."""
    fixed = {
        "queries": "query_tokens",
        "text.word.weight": "qformer.embeddings.word_embeddings.weight",
        "text.place.weight": "qformer.embeddings.position_embeddings.weight",
    }
    if name in fixed:
        return fixed[name]
    if name.startswith("norm."):
        return f"qformer.embeddings.layer{name}"
    _, i, part, leaf, kind = name.split(".")
    layer = f"qformer.encoder.layer.{i}"
    if part.endswith("mlp"):
        tail = "" if part == "text_mlp" else "_query"
        ours = {"up": f"intermediate{tail}.dense", "down": f"output{tail}.dense", "norm": f"output{tail}.LayerNorm"}
        return f"{layer}.{ours[leaf]}.{kind}"
    block = "attention" if part == "self_attention" else "crossattention"
    inner = {"out": "output.dense", "norm": "output.LayerNorm"}.get(leaf, f"attention.{leaf}")
    return f"{layer}.{block}.{inner}.{kind}"
