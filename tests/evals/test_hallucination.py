"""CHAIR counts what hand counting counts, and the shared experiment trains once and keeps its trials."""

import pytest
import torch

from seefar.evals import hallucination
from seefar.evals.hallucination import FIGURES, Chair, Decoding, chair, decoded_captions
from seefar.papers._card import Scale
from seefar.synthetic.scenes import PairedScenes


def test_a_case_counted_by_hand():
    there = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]).bool()
    said = torch.tensor([[1, 1, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1]]).bool()
    # six mentions, three of them there; five things, three mentioned; two of three descriptions make something up
    got = chair(said, there)
    assert got == Chair(chair_i=0.5, chair_s=pytest.approx(2 / 3), recall=0.6, f1=pytest.approx(2 * 0.5 * 0.6 / 1.1))


def test_the_truth_is_perfect_and_silence_makes_nothing_up():
    there = torch.tensor([[True, False, True]])
    assert chair(there, there) == Chair(0, 0, 1, 1)
    assert chair(torch.zeros_like(there), there) == Chair(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("said", "there", "says"),
    [
        (torch.ones(2, 3).bool(), torch.ones(2, 4).bool(), "two Boolean tables"),
        (torch.ones(2, 3), torch.ones(2, 3), "two Boolean tables"),
        (torch.ones(2, 3).bool(), torch.zeros(2, 3).bool(), "no picture holds anything"),
    ],
)
def test_what_cannot_be_scored_is_refused(said, there, says):
    with pytest.raises(ValueError, match=says):
        chair(said, there)


def test_one_captioner_serves_all_arms_and_a_finished_experiment_trains_none(tmp_path, monkeypatch):
    trained = []
    real = hallucination.train_captioner

    def counted(scenes, **how):
        trained.append((scenes.caption_bias, how["seed"]))
        return real(scenes, **how)

    monkeypatch.setattr(hallucination, "train_captioner", counted)
    worlds = {bias: PairedScenes(1, caption_bias=bias, grid=2) for bias in (0.0, 1.0)}
    silent = Decoding(lambda model, inputs: lambda ids, scores: scores.index_fill(1, torch.arange(4, 6), -1e9))
    arms = {"greedy": Decoding(), "sampled": Decoding(sample=True), "silent": silent}
    figures = decoded_captions(arms, worlds, Scale("smoke", (0, 1), tmp_path), steps=2, pictures=6)
    assert sorted(trained) == [(0.0, 0), (0.0, 1), (1.0, 0), (1.0, 1)]
    assert (
        tuple(figures) == FIGURES and list(figures["f1"]) == list(arms) and list(figures["f1"]["greedy"]) == [0.0, 1.0]
    )
    assert all(figure.values == (0, 0) for name in FIGURES for figure in figures[name]["silent"].values())
    again = decoded_captions(arms, worlds, Scale("smoke", (0, 1), tmp_path), steps=2, pictures=6)
    assert again == figures and len(trained) == 4
