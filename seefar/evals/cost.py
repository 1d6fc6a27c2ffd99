"""What a decoder's arithmetic and memory come to, by its shape and by the tokens that each of its layers sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Decoder:
    """The shape of a decoder with gated MLPs: Qwen2, Llama and their kin.

    Args:
        layers: how many. width: of a token. mlp: inner width of the MLP.
        heads: of queries. kv_heads: of keys and values. head: width of one; None for width / heads.

    Raises:
        ValueError: a size is not positive, or the heads do not divide the width or each other.
    """

    layers: int
    width: int
    mlp: int
    heads: int
    kv_heads: int
    head: int | None = None

    def __post_init__(self) -> None:
        sizes = (self.layers, self.width, self.mlp, self.heads, self.kv_heads, 1 if self.head is None else self.head)
        if min(sizes) < 1:
            raise ValueError(f"Decoder: every size must be positive, got {self}")
        if self.heads % self.kv_heads or (self.head is None and self.width % self.heads):
            raise ValueError(f"Decoder: kv_heads must divide heads, and heads the width unless head is given, {self}")

    @classmethod
    def of(cls, config: Any) -> Decoder:
        """The shape in a configuration of transformers, that of its text part where it has several."""
        text = config.get_text_config()
        return cls(
            text.num_hidden_layers,
            text.hidden_size,
            text.intermediate_size,
            text.num_attention_heads,
            text.num_key_value_heads,
            getattr(text, "head_dim", None),
        )

    @property
    def head_width(self) -> int:
        return self.head or self.width // self.heads

    def flops(self, counts: Sequence[int], keys: Sequence[int] | None = None) -> int:
        """Floating-point operations of one pass through all layers, two for each multiplication with its addition.

        A layer with n tokens that look at k, width d, inner MLP width m, q and g heads of width h:
        ``2 (n d h (2 q + 2 g) + 2 n k q h + 3 n d m)``. Attention is counted over all n k pairs, as it is computed
        where weights are written out; a kernel that skips what the causal mask hides does half of it. Embedding, norms,
        softmax and the language head are left out.

        Args:
            counts: tokens that pass through each layer.
            keys: tokens that each layer's queries look at, where these are more: the cache of a decoding step.

        Raises:
            ValueError: there is not one non-negative count for each layer, or fewer keys than tokens.
        """
        keys = counts if keys is None else keys
        self._check(counts)
        self._check(keys)
        if any(k < n for n, k in zip(counts, keys, strict=True)):
            raise ValueError("Decoder: keys include the tokens themselves, so a layer has at least as many")
        inner = self.heads * self.head_width
        each = self.width * (2 * inner + 2 * self.kv_heads * self.head_width) + 3 * self.width * self.mlp
        return sum(2 * (n * each + 2 * n * k * inner) for n, k in zip(counts, keys, strict=True))

    def kv_bytes(self, counts: Sequence[int], bytes_each: int = 2) -> int:
        """Bytes of the cached keys and values when each layer holds so many tokens."""
        self._check(counts)
        return 2 * self.kv_heads * self.head_width * bytes_each * sum(counts)

    def _check(self, counts: Sequence[int]) -> None:
        if len(counts) != self.layers or min(counts) < 0:
            raise ValueError(f"Decoder: one count of tokens for each of {self.layers} layers, got {list(counts)}")


QWEN2_7B = Decoder(layers=28, width=3584, mlp=18944, heads=28, kv_heads=4)
