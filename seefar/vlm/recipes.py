"""How the frames of a film become tokens for a wrapped model, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor

from seefar.compress.base import Compressor, check_budget
from seefar.compress.merge import Adjacent, SimilarityMerge
from seefar.compress.pool import GridPool
from seefar.compress.relevance import Cosine
from seefar.compress.select import Novelty, TopK, Uniform
from seefar.sequence import VisualSequence


class Identity(Compressor):
    """Leaves the tokens as they are.

    Raises:
        ValueError: there are more of them than the budget; nothing is left out silently.
    """

    def forward(self, seq: VisualSequence, budget: int, query: Tensor | None = None) -> VisualSequence:
        """The sequence itself."""
        check_budget("Identity", budget)
        if int(seq.count.max()) > budget:
            raise ValueError(
                f"Identity: {int(seq.count.max())} tokens do not fit a budget of {budget}; give fewer frames, or name "
                f"a recipe that makes fewer tokens of them: {', '.join(name for name in RECIPES if name != 'identity')}"
            )
        return seq


@dataclass(frozen=True)
class Recipe:
    """A named way to keep the budget.

    Args:
        name: how it is called.
        make: builds the compressor.
        whole_frames: the budget must hold one whole frame of tokens.
        plan: ``plan(seq, budget)`` gives as many tokens as the compressor will, with as many distinct times or more,
            without looking at features.
        keeps_all: nothing makes fewer tokens, so no more frames may be read than fit.
    """

    name: str
    make: Callable[[], Compressor]
    whole_frames: bool
    plan: Callable[[VisualSequence, int], VisualSequence]
    keeps_all: bool = False

    @classmethod
    def of(cls, compressor: Compressor) -> Recipe:
        """A recipe around a compressor of one's own; its plan is an upper bound."""
        return cls(type(compressor).__name__, lambda: compressor, False, _spread)


def recipe(name: str | None) -> Recipe:
    """The recipe of that name; None is "identity"; a ValueError lists the names there are."""
    name = name or "identity"
    if name not in RECIPES:
        raise ValueError(f"Unknown recipe {name!r}. There are: {', '.join(RECIPES)}.")
    return RECIPES[name]


def _spread(seq: VisualSequence, budget: int) -> VisualSequence:
    """Tokens from as many frames as the budget can reach."""
    return Uniform()(replace(seq, grid=None), budget)


def _chains(seq: VisualSequence, budget: int) -> VisualSequence:
    """As many tokens as chains through time leave: the same number for every place of the raster."""
    if seq.grid is None or len(seq) <= budget:
        return _spread(seq, budget)
    places = seq.grid[1] * seq.grid[2]
    return _spread(seq, budget // places * places)


RECIPES: dict[str, Recipe] = {
    each.name: each
    for each in (
        Recipe("identity", Identity, True, Identity(), keeps_all=True),
        Recipe("uniform", Uniform, True, Uniform()),
        Recipe("novelty", Novelty, True, Uniform()),
        Recipe("merge", lambda: SimilarityMerge(Adjacent()), True, _chains),
        Recipe("pool", GridPool, False, GridPool()),
        Recipe("relevance", lambda: TopK(Cosine()), False, _spread),
    )
}
"""identity: all tokens of as many evenly spaced frames as fit. uniform: evenly spaced frames of those read. novelty:
the frames that differ most from those kept before. merge: neighbours in time joined, place by place. pool: coarser
pictures, then longer steps. relevance: the tokens nearest to the question in the space of the language model's input
embeddings, which is a weak guide where a model was not trained for it."""
