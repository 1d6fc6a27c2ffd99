"""AKS: its paper file keeps its shape, its experiment runs, and the selector is the published one."""

import pytest
import torch

from seefar.compress import AdaptiveBins, Cosine, adaptive_bins
from seefar.papers import aks
from seefar.papers._card import Scale
from seefar.sequence import VisualSequence
from seefar.testing import check_paper


def test_the_paper_keeps_its_shape_and_its_experiment_runs():
    check_paper(aks, Scale("smoke", (0,)))


def test_what_is_built_has_the_published_settings():
    part = aks.build(Cosine())
    assert isinstance(part, AdaptiveBins)
    assert (part.t1, part.depth, part.official) == (0.8, 5, False)


def test_it_chooses_frames_by_the_cosine_to_the_question():
    generator = torch.Generator().manual_seed(0)
    seq = VisualSequence.of_grid(torch.randn(1, 300, 1, 1, 8, generator=generator), torch.arange(300))
    query = torch.randn(1, 8, generator=generator)
    want = adaptive_bins(torch.cosine_similarity(seq.tokens[0], query, dim=-1), 64)
    assert aks.build(Cosine())(seq, 64, query).span[0, :, 0].tolist() == want


def test_scores_that_are_no_number_are_refused():
    seq = VisualSequence.of_grid(torch.zeros(1, 9, 1, 1, 2), torch.arange(9))
    with pytest.raises(ValueError, match="NaN"):
        aks.build(lambda seq, query: seq.mass * torch.nan)(seq, 4)
