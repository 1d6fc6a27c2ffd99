"""Writing several words in one call of a model: cheap heads guess ahead, the model itself checks the guesses.

L words read in a call, N words of a text, D channels, V words there are, K words of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Accept = Callable[[Tensor, Tensor], Tensor]
"""``accept(logits, words) -> bool (L,)``: which words may stand, by the model's own logits (L, V) for their places."""


def exact(logits: Tensor, words: Tensor) -> Tensor:
    """Only the model's likeliest word: what is written is what the model writes alone."""
    return logits.argmax(-1) == words


def top(n: int) -> Accept:
    """Any of the model's n likeliest words.

    Raises:
        ValueError: n is below one.
    """
    if n < 1:
        raise ValueError(f"top: at least the likeliest word must be allowed, got {n}")
    return lambda logits, words: (logits.topk(min(n, logits.shape[-1])).indices == words[:, None]).any(-1)


def within(distance: int) -> Accept:
    """Words that are quantities, such as grey levels: at most so far from the model's likeliest one.

    Raises:
        ValueError: the distance is negative.
    """
    if distance < 0:
        raise ValueError(f"within: a distance is not negative, got {distance}")
    return lambda logits, words: (logits.argmax(-1) - words).abs() <= distance


class ProposalHeads(nn.Module):
    """Guess, from the hidden state that gives the next word, those after it too.

    (g_2 .. g_K) = h + W_2 relu(W_1 h),    guess i = argmax vocabulary(g_i)

    The vocabulary projection is the model's own; the next word itself is the model's business, so K - 1 heads remain.

    Args:
        dim: D.
        block: K, words of a block; 1 for no guess at all.
        hidden: width of W_1 for each head; D when left out.

    Raises:
        ValueError: a block below one word.

    Reference: Stern et al., arXiv 1811.03115. Differs: no norm after the sum, and the model's own head is left alone.
    """

    def __init__(self, dim: int, block: int, *, hidden: int | None = None) -> None:
        super().__init__()
        if block < 1:
            raise ValueError(f"ProposalHeads: a block has at least the next word, got {block=}")
        self.block, ahead = block, block - 1
        width = ahead * (hidden or dim)
        self.guess = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, ahead * dim)) if ahead else None

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., K - 1, D) states of the guesses, from hidden (..., D)."""
        if self.guess is None:
            return hidden[..., None, :][..., :0, :]
        return hidden[..., None, :] + self.guess(hidden).unflatten(-1, (self.block - 1, -1))


def proposal_loss(heads: ProposalHeads, vocabulary: nn.Module, hidden: Tensor, ids: Tensor, which: int) -> Tensor:
    """Mean nats of the words that head ``which`` (2 .. K) has to guess; as published, draw one head for each step.

    Args:
        heads: to train.
        vocabulary: states to logits, the model's own.
        hidden: (B, N, D) the model's states over the text.
        ids: (B, N) the text, or what the model itself would write.
        which: places ahead of a state; 1 would be the model's own head.

    Raises:
        ValueError: there is no such head, or the text is too short for it.
    """
    if not 2 <= which <= heads.block:
        raise ValueError(f"proposal_loss: a block of {heads.block} has heads 2 to {heads.block}, got {which}")
    if ids.shape[1] <= which:
        raise ValueError(f"proposal_loss: head {which} needs texts longer than {which} words, got {ids.shape[1]}")
    logits = vocabulary(heads(hidden[:, :-which])[..., which - 2, :])
    return F.cross_entropy(logits.flatten(0, 1), ids[:, which:].flatten())


class Reader(Protocol):
    """A model in the middle of a text of one row: all that writing in blocks asks of it."""

    vocabulary: nn.Module
    calls: int

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Read words (1, L) after those kept; their states (L, D) and the logits (L, V) of what follows each."""

    def keep(self, count: int) -> None:
        """Of the words read last, keep the first ``count`` and forget the others."""


class CachedReader:
    """Any causal language model of transformers, with its own cache.

    Raises:
        ValueError: the model has no vocabulary projection, or its cache can't be cut back (a recurrent state).
    """

    def __init__(self, model: Any) -> None:
        head = model.get_output_embeddings()
        if head is None:
            raise ValueError(f"CachedReader: {type(model).__name__} has no output embeddings; use a ...ForCausalLM")
        self.model, self.vocabulary, self.calls = model, head, 0
        self.cache: Any = None
        self.last = 0

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Read words (1, L); their states (L, D) and logits (L, V)."""
        hidden, out = _with_states(
            self.vocabulary, lambda: self.model(input_ids=ids, past_key_values=self.cache, use_cache=True)
        )
        self.cache = getattr(out, "past_key_values", None)
        if not hasattr(self.cache, "crop"):
            raise ValueError(
                f"CachedReader: {type(self.model).__name__} keeps no cache that can be cut back to an earlier word; "
                "wrap a model with a recurrent state as (logits, state) = model(ids, state) in a StateReader"
            )
        self.calls, self.last = self.calls + 1, ids.shape[1]
        return hidden[0], out.logits[0]

    def keep(self, count: int) -> None:
        """Keep the first ``count`` words of those read last."""
        if count < self.last:
            self.cache.crop(count - self.last)  # a negative length: so many words less
            self.last = count


class StateReader:
    """A model that is called as ``(logits, state) = model(ids, state)`` and has its vocabulary projection as ``head``.

    Args:
        model: such as ``SequenceModel``; its states are values, never changed in place.
        crop: ``crop(state, words)``, the state as it was before the last words. None where a state can't be cut back,
            as one of a recurrence: then words that are kept of a block cost a second call, which reads them again.
    """

    def __init__(self, model: Any, *, crop: Callable[[Any, int], Any] | None = None) -> None:
        self.model, self.vocabulary, self.calls, self.crop = model, model.head, 0, crop
        self.before: Any = None
        self.state: Any = None
        self.ids: Tensor | None = None

    def read(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Read words (1, L); their states (L, D) and logits (L, V)."""
        self.before, self.ids, self.calls = self.state, ids, self.calls + 1
        hidden, (logits, self.state) = _with_states(self.vocabulary, lambda: self.model(ids, self.before))
        return hidden[0], logits[0]

    def keep(self, count: int) -> None:
        """Keep the first ``count`` words of those read last."""
        if self.ids is None or count >= self.ids.shape[1]:
            return
        if self.crop is not None:
            self.state = self.crop(self.state, self.ids.shape[1] - count)
        else:
            self.state, self.calls = self.model(self.ids[:, :count], self.before)[1], self.calls + 1
        self.ids = self.ids[:, :count]


def _with_states(vocabulary: nn.Module, call: Callable[[], Any]) -> tuple[Tensor, Any]:
    """What a call gives, and what its vocabulary projection was given."""
    caught: list[Tensor] = []
    handle = vocabulary.register_forward_pre_hook(lambda _, given: caught.append(given[0]))
    try:
        out = call()
    finally:
        handle.remove()
    return caught[-1], out


@dataclass(frozen=True)
class Written:
    """What was written, and at what price.

    Args:
        ids: (N,) the words after the prompt.
        blocks: words accepted by each check, the model's own next word among them.
        calls: of the model, the reading of the prompt among them.
    """

    ids: Tensor
    blocks: tuple[int, ...]
    calls: int

    @property
    def mean_block(self) -> float:
        """Words accepted by a check, on average; 1 where nothing had to be checked."""
        return sum(self.blocks) / len(self.blocks) if self.blocks else 1.0


@torch.no_grad()
def write(
    reader: Reader,
    heads: ProposalHeads,
    prompt: Tensor,
    count: int,
    *,
    accept: Accept = exact,
    least: int = 1,
    end: int | None = None,
) -> Written:
    """Go on from a prompt, greedily, in blocks: guess K words, check them in one call, keep those that hold.

    The call that checks a block also gives the next guesses, at whichever word turns out to be the last one kept; so
    each block costs one call. With ``exact`` the words are those of greedy decoding, whatever the heads guess.

    Args:
        reader: the model, fresh.
        heads: with one word a block it is plain greedy decoding.
        prompt: (1, L), at least one word.
        count: words to write.
        accept: ``exact``, ``top(n)`` or ``within(distance)``.
        least: words of a block that stand even unchecked; above 1 the text may differ from greedy.
        end: a word after which nothing is written.

    Raises:
        ValueError: more than one row, an empty prompt, nothing to write, or ``least`` outside of a block.
    """
    if prompt.ndim != 2 or len(prompt) != 1 or prompt.shape[1] < 1:
        raise ValueError(f"write: takes one row of at least one word, (1, L), got {tuple(prompt.shape)}")
    if count < 1:
        raise ValueError(f"write: count must be at least 1, got {count}")
    if not 1 <= least <= heads.block:
        raise ValueError(f"write: least lies between 1 and the block of {heads.block} words, got {least}")
    hidden, logits = reader.read(prompt)
    written = prompt[0, :0]
    blocks: list[int] = []
    while True:
        guesses = reader.vocabulary(heads(hidden[-1])).argmax(-1)
        block = torch.cat([logits[-1:].argmax(-1), guesses])[: count - len(written)]
        if len(written) + 1 == count or block[0] == end:
            return Written(torch.cat([written, block[:1]]), tuple(blocks), reader.calls)
        hidden, logits = reader.read(block[None])
        held = accept(logits[:-1], block[1:]).long().cumprod(0).sum()
        kept = min(len(block), max(least, 1 + int(held)))
        ends = (block[:kept] == end).nonzero() if end is not None else block.new_zeros(0, 1)
        kept = int(ends[0]) + 1 if len(ends) else kept
        written = torch.cat([written, block[:kept]])
        blocks.append(kept)
        if len(ends) or len(written) == count:
            return Written(written, tuple(blocks), reader.calls)
        reader.keep(kept)
        hidden, logits = hidden[:kept], logits[:kept]
