"""The small networks of ``pico``: a frame-text dual encoder and a language model that can point.

B batch, N tokens, L words, T frames, P tokens of a frame, D channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from seefar.embed.patch import ConvPatches
from seefar.mixers.block import Block, Stack
from seefar.mixers.softmax import Attention
from seefar.positions.rope import Rope
from seefar.sequence import VisualSequence

NAMES = {"colour": 9, "shape": 9, "number": 11, "squashed": 2}
"""What stands at a patch, by groups of names; the last name of the first three is "none"."""
SHAPES_FIRST, OTHERS_FIRST = 20.0, 10.0
"""Logits of relevance by which a patch that shows a shape goes before scenery, and one of a colour not yet taken before
one of a colour that is. A star that has turned green answers to "red star" worse than scenery and than anything else
does, but it is what the question is about."""


class FrameText(nn.Module):
    """Says how much each patch of a frame speaks for each word of a question, and names what stands there.

    relevance(l, p) = s <t_l, v_p> / sqrt(D) + b(t_l),   a frame's relevance is its maximum over words and patches

    Late interaction (arXiv 2004.12832) at patches: "red" and "star" have to meet in one place. Words read leftwards
    only, so that "star" after "red" means the red star.

    Args:
        size: (H, W) of the frames it sees. vocabulary: number of words.
    """

    def __init__(self, vocabulary: int, dim: int = 128, size: tuple[int, int] = (64, 112), heads: int = 4):
        super().__init__()
        self.size = size
        self.eye = ConvPatches(dim, (32, 64, 128, 128))
        self.grid = (size[0] // self.eye.patch, size[1] // self.eye.patch)
        self.place = nn.Parameter(torch.zeros(self.grid[0] * self.grid[1], dim))
        self.look = Stack([Block(dim, Attention(dim, heads, causal=False), mlp_ratio=2) for _ in range(2)])
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.see = nn.Linear(dim, dim, bias=False)
        self.names = nn.Linear(dim, sum(NAMES.values()))
        self.embed = nn.Embedding(vocabulary, dim)
        self.read = Stack([Block(dim, Attention(dim, heads, rope=Rope(dim // heads)), mlp_ratio=2) for _ in range(2)])
        self.mean = nn.Sequential(nn.RMSNorm(dim, eps=1e-5), nn.Linear(dim, dim))
        self.bias = nn.Linear(dim, 1)
        nn.init.constant_(self.bias.bias, -3.0)

    def watch(self, frames: Tensor, seconds: Tensor) -> VisualSequence:
        """Frames (T, 3, H, W) uint8 and their seconds to one row of T * P tokens of width D."""
        if tuple(frames.shape[-2:]) != self.size:
            raise ValueError(
                f"FrameText: frames must be {self.size}, got {tuple(frames.shape[-2:])}; resize while reading"
            )
        pixels = frames.to(self.place.dtype)[None] / 255 - 0.45
        seq = self.eye(pixels, seconds)
        T, P = len(frames), self.grid[0] * self.grid[1]

        def look(tokens: Tensor) -> Tensor:
            seen, _ = self.look(tokens.reshape(T, P, -1) + self.place)
            return self.norm(seen).reshape(1, T * P, -1)

        return seq.map(look)

    def hear(self, words_BL: Tensor) -> tuple[Tensor, Tensor]:
        """Words in context (B, L, D) and what each alone is worth (B, L); padding (number 0) is worth nothing."""
        heard, _ = self.read(self.embed(words_BL))
        worth = self.bias(heard)[..., 0].masked_fill(words_BL == 0, -1e4)
        return self.mean(heard), worth

    def relevance(self, tokens_ND: Tensor, heard_BLD: Tensor, worth_BL: Tensor) -> Tensor:
        """(B, L, N) logit of each word of each question at each token."""
        asked = heard_BLD @ self.see.weight  # the map is applied to the few words instead of the many tokens
        return torch.einsum("bld,nd->bln", asked, tokens_ND) / tokens_ND.shape[-1] ** 0.5 + worth_BL[..., None]

    def name(self, tokens_ND: Tensor) -> Tensor:
        """(N, all names) probability of each name at each token; those of a group sum to 1."""
        groups = self.names(tokens_ND).split(list(NAMES.values()), -1)
        return torch.cat([group.softmax(-1) for group in groups], -1)

    def pick(self, tokens_TPD: Tensor, relevance_TP: Tensor, keep: int) -> Tensor:
        """(T, keep) patches of each frame that show most of what is there: one shape, then another, then by relevance.

        Marginal relevance (Carbonell and Goldstein, SIGIR 1998), where patches are alike if they bear one colour: the
        colour of a shape is known even at its edge.
        """
        logits = self.names(tokens_TPD)[..., : NAMES["colour"]]
        colours = logits.softmax(-1)
        rank = relevance_TP + SHAPES_FIRST * (1 - colours[..., -1])
        taken, alike, chosen = torch.zeros_like(rank, dtype=torch.bool), torch.zeros_like(rank), []
        for _ in range(keep):
            best = (rank - OTHERS_FIRST * alike).masked_fill(taken, -torch.inf).argmax(1, keepdim=True)
            chosen.append(best)
            taken = taken.scatter(1, best, True)
            same = colours @ colours.gather(1, best[..., None].expand(-1, -1, colours.shape[-1])).mT
            alike = torch.maximum(alike, same[..., 0])
        return torch.cat(chosen, 1)


class Evidence(NamedTuple):
    """What the language model is shown of a film: K kept tokens of B questions, padded at the end.

    Args:
        names_BKN: what the eye named, as probabilities. words_BKD: the word of the question that each token answers
        best. place_BK4: boxes. time_BK2: log of 1 + seconds to the kept frame before and after. score_BK1: relevance.
        order_BK1: 0 at the first kept frame to 1 at the last. asked_BK1: 0 if the token answers best to the first word
        of the question, 1 if to the last. frame_BK: number of the kept frame. mask_BK: False on padding.
    """

    names_BKN: Tensor
    words_BKD: Tensor
    place_BK4: Tensor
    time_BK2: Tensor
    score_BK1: Tensor
    order_BK1: Tensor
    asked_BK1: Tensor
    frame_BK: Tensor
    mask_BK: Tensor


class Narrator(nn.Module):
    """A causal language model over a question and the evidence, which answers with words and with pointers to evidence.

    Reads [question] [evidence] <answer>, then writes steps. A step's distribution is one softmax over all words and all
    evidence tokens: a pointer network (arXiv 1506.03134) mixed with a vocabulary. What was pointed at is read back in.
    Of a token it is told names and not features: those of a white star it never saw are no riddle to it.
    """

    def __init__(self, vocabulary: int, seen: int = 128, dim: int = 128, depth: int = 4, heads: int = 4):
        super().__init__()
        self.word = nn.Embedding(vocabulary, dim)
        self.heard = nn.Linear(seen, dim, bias=False)
        self.token = nn.Linear(sum(NAMES.values()), dim)
        nn.init.normal_(self.token.weight)  # as loud as words: each name is an embedding, and one of each group adds up
        self.match = nn.Linear(seen, dim, bias=False)
        self.facts = nn.Sequential(nn.Linear(9, dim), nn.GELU(), nn.Linear(dim, dim))
        self.stack = Stack([Block(dim, Attention(dim, heads, rope=Rope(dim // heads))) for _ in range(depth)])
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.say = nn.Linear(dim, vocabulary)
        self.aim = nn.Linear(dim, dim, bias=False)
        self.mark = nn.Linear(dim, dim, bias=False)

    def see(self, evidence: Evidence) -> Tensor:
        """Evidence as input tokens (B, K, dim)."""
        score = evidence.score_BK1.clamp(-10, 10) / 5
        facts = [evidence.place_BK4, evidence.time_BK2 / 4, score, evidence.order_BK1, evidence.asked_BK1]
        return self.token(evidence.names_BKN) + self.match(evidence.words_BKD) + self.facts(torch.cat(facts, -1))

    def ask(self, words_BL: Tensor, heard_BLD: Tensor) -> Tensor:
        """Question words as input tokens (B, L, dim)."""
        return self.word(words_BL) + self.heard(heard_BLD)

    def scores(self, hidden_BND: Tensor, evidence_BKD: Tensor, mask_BK: Tensor) -> Tensor:
        """(B, N, V + K) logits of every word and every pointer, from hidden states at the steps and at the evidence."""
        aim, mark = self.aim(hidden_BND), self.mark(evidence_BKD)
        points = aim @ mark.transpose(1, 2) / aim.shape[-1] ** 0.5
        return torch.cat([self.say(hidden_BND), points.masked_fill(~mask_BK[:, None], float("-inf"))], -1)
