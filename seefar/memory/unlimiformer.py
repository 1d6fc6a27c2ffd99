"""An encoder-decoder that reads any length: its states lie in an index, and each head looks up the few it wants.

B texts, N tokens of one, D width of a state, H heads, k states that a head looks at.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from seefar.hf.cross_attention import use_cross_attention
from seefar.hf.windows import states_in_windows
from seefar.memory.vector_index import VectorIndex
from seefar.ops.attention import attention

if TYPE_CHECKING:
    from transformers import PreTrainedModel

AT_ONCE = 2**24
"""Numbers of looked-up states that are held at once."""


class Unlimiformer:
    """A trained encoder-decoder of transformers, given inputs of any length, with its weights as they are.

    The text is encoded in windows that overlap, and the kept states go into one index for each text, which serves all
    layers and heads. A head of the decoder asks it for the k states with the largest scores q . (W_k h) and attends to
    these alone, so that a step costs what k tokens cost, plus the search; memory for the text is D numbers a token. A
    text no longer than a window, with k no smaller, gives what the model itself gives.

    Args:
        model: of transformers, BART's family or T5's (see ``use_cross_attention``).
        window: tokens that the encoder reads at once; what its configuration says when left out.
        overlap: share of a window that its neighbours read too.
        k: states that a head looks at, all of them where there are fewer; ``window`` when left out.
        layers: of the decoder that look up; the others look at the first window. All of them when left out.
        index: ``index(D, room=N, dtype=..., device=...)`` gives an empty ``VectorIndex``; with ``inverted`` it is built
            once a text is read.

    Raises:
        ValueError: a model without cross-attention, or one that trains; no window; texts with padding and no mask.

    Example:
        >>> from transformers import BartConfig, BartForConditionalGeneration
        >>> sizes = {"encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 8, "decoder_ffn_dim": 8}
        >>> heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
        >>> config = BartConfig(vocab_size=20, d_model=8, max_position_embeddings=16, **sizes, **heads)
        >>> reader = Unlimiformer(BartForConditionalGeneration(config).eval(), k=4)
        >>> reader.generate(torch.arange(3, 20).repeat(1, 9), max_new_tokens=2, min_length=3).shape, len(reader.read[0])
        (torch.Size([1, 3]), 153)

    Reference: Bertsch et al., Unlimiformer, arXiv 2305.01625. Differs: looks up at every step, the first included, and
    mixes states before it projects them, which is the same and costs less; every layer unless told otherwise and half
    of a window as overlap, as in the paper, where its code has the last layer and none; the index holds vectors, not
    codes; for a model that is trained: the ways to train with retrieval are left out.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        window: int | None = None,
        overlap: float = 0.5,
        k: int | None = None,
        layers: Collection[int] | None = None,
        index: Callable[..., VectorIndex] = VectorIndex,
    ) -> None:
        with use_cross_attention(model, self._look, layers=layers):
            pass  # refuses at once what it would refuse later
        known = (getattr(model.config, name, None) for name in ("max_position_embeddings", "n_positions"))
        window = window or next((size for size in known if size), None)
        if window is None:
            raise ValueError(f"Unlimiformer: {type(model).__name__} does not say how much it reads; give window=")
        if window < 1 or (k is not None and k < 1):
            raise ValueError(f"Unlimiformer: window and k must be at least 1, got {window=}, {k=}")
        self.model, self.window, self.overlap, self.k = model, window, overlap, k or window
        self.layers, self.index = layers, index
        self.read: list[VectorIndex] = []

    def generate(self, ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Tensor:
        """What the model's own ``generate`` says to texts (B, N) of any length."""
        given = self._given(ids, attention_mask)
        with use_cross_attention(self.model, self._look, layers=self.layers):
            words: Tensor = self.model.generate(**given, **options)  # type: ignore[operator]
        return words

    def __call__(self, ids: Tensor, attention_mask: Tensor | None = None, **options: Any) -> Any:
        """What the model itself returns, given ``labels`` or ``decoder_input_ids`` among the options."""
        given = self._given(ids, attention_mask)
        with use_cross_attention(self.model, self._look, layers=self.layers):
            return self.model(**given, **options)

    @torch.no_grad()
    def _given(self, ids: Tensor, mask: Tensor | None) -> dict[str, Any]:
        """Read the texts; what the model gets in place of them."""
        from transformers.modeling_outputs import BaseModelOutput

        if self.model.training:
            raise ValueError("Unlimiformer: looking up serves a model that is trained; call model.eval()")
        encoder, pad = self.model.get_encoder(), self.model.config.pad_token_id
        if mask is None and pad is not None and bool((ids == pad).any()):
            raise ValueError(
                f"Unlimiformer: token {pad} is padding, which would lie in the index; give attention_mask, 0 there"
            )
        texts = list(ids) if mask is None else [row[real.bool()] for row, real in zip(ids, mask, strict=True)]
        if empty := [row for row, text in enumerate(texts) if not len(text)]:
            raise ValueError(f"Unlimiformer: text {empty[0]} is empty, or nothing but padding; leave it out")
        self.read = [self._indexed(encoder, text) for text in texts]
        first = [text[: self.window] for text in texts]
        real = pad_sequence([torch.ones_like(text) for text in first], batch_first=True)
        rows = pad_sequence(first, batch_first=True, padding_value=0 if pad is None else pad)
        states = encoder(input_ids=rows, attention_mask=real).last_hidden_state
        return {"encoder_outputs": BaseModelOutput(last_hidden_state=states), "attention_mask": real}

    def _indexed(self, encoder: Any, text: Tensor) -> VectorIndex:
        index: VectorIndex | None = None
        for states in states_in_windows(encoder, text, self.window, overlap=self.overlap):
            if index is None:
                dtype = torch.promote_types(states.dtype, torch.float32)
                index = self.index(states.shape[-1], room=len(text), dtype=dtype, device=states.device)
            index.add(states)
        assert index is not None
        index.build()
        return index

    def _look(self, u_BHND: Tensor, *, scale: float, layer: int) -> Tensor:
        """A mean of the best states for each query; rows of one text follow each other, as beams do."""
        if len(u_BHND) % len(self.read):
            raise ValueError(f"Unlimiformer: {len(u_BHND)} rows are no whole number for each of {len(self.read)} texts")
        parts = u_BHND.chunk(len(self.read))
        return torch.cat([self._mean(u, index, scale) for u, index in zip(parts, self.read, strict=True)])

    def _mean(self, u_RHND: Tensor, index: VectorIndex, scale: float) -> Tensor:
        u_QD = u_RHND.reshape(-1, index.dim)
        if self.k >= len(index):
            h_ND = index.take(torch.arange(len(index))).to(u_QD.dtype)
            return attention(u_QD[None, None], h_ND[None, None], h_ND[None, None], scale=scale).view_as(u_RHND)
        found = index.search(u_QD, self.k)
        weights_Qk = (scale * found.scores_Qk).softmax(-1)
        step = max(1, AT_ONCE // (self.k * index.dim))
        means = [
            (some[:, None] @ index.take(numbers))[:, 0]
            for some, numbers in zip(weights_Qk.split(step), found.numbers_Qk.split(step), strict=True)
        ]
        return torch.cat(means).to(u_RHND.dtype).view_as(u_RHND)
