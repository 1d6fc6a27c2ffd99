"""V-NIAH: a model that sees all finds all, one that is half blind finds what it sees; published figures come out."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from seefar.embed.patch import ConvPatches
from seefar.evals.vniah import Haystack, Needle, average, depth_grid, found, heatmap, run, sign_bench
from seefar.synthetic.signs import Signs
from seefar.vlm.unires import UniRes, small_qwen

MARK = 7.0
"""What every token of a needle's frame holds; the answer's ids follow."""


class Oracle(nn.Module):
    """Says what the needle's frame holds, if that is among the first frames that it sees; else word 0."""

    def __init__(self, sees: int = 10**9, limit: int = 10**6, slip: int | None = None):
        super().__init__()
        self.embed = nn.Embedding(50, 4)
        self.sees, self.slip, self.shapes = sees, slip, []
        self.config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=limit))

    def get_input_embeddings(self):
        return self.embed

    def answer(self, row):
        for i in range(0, row.shape[1] - 1, 2):
            if row[0, i, 0] == MARK:
                return [int(x) for x in row[0, i, 1:3]] if i // 2 < self.sees else [0, 0]
        return [0, 0]

    def forward(self, inputs_embeds, position_ids, use_cache, logits_to_keep):
        assert position_ids.tolist() == [list(range(inputs_embeds.shape[1]))]
        self.shapes.append(tuple(inputs_embeds.shape))
        says = self.answer(inputs_embeds)
        if self.slip is not None:
            says[self.slip] = 1
        logits = torch.zeros(1, logits_to_keep, 50)
        for i, word in enumerate(says):
            logits[0, i, word] = 1
        return SimpleNamespace(logits=logits)

    def generate(self, inputs_embeds, max_new_tokens, do_sample):
        return torch.tensor([self.answer(inputs_embeds)])


def hay(frames=40, **more):
    return Haystack(torch.zeros(frames, 2, 4), **more)


def needle(first=11, second=12):
    return Needle(torch.tensor([[MARK, first, second, 0]] * 2), torch.tensor([3, 4]), torch.tensor([first, second]))


def test_an_oracle_finds_every_needle_in_every_cell():
    cells = run(Oracle(), hay(), [needle(), needle(20, 30)], [10, 20, 40], depth_grid(0.2))
    assert len(cells) == 18 and average(cells) == 1
    assert cells[1] == {"Num. Frame": 10, "Frame Depth": 20.0, "Score": 1.0}


@pytest.mark.parametrize("sees", [1, 7, 20])
def test_a_model_blind_beyond_k_frames_finds_the_needles_before_them_alone(sees):
    cells = run(Oracle(sees), hay(), [needle()], [10, 20, 40], depth_grid(0.1))
    assert [cell["Score"] for cell in cells] == [
        float(int(depth * count) < sees) for count in (10, 20, 40) for depth in depth_grid(0.1)
    ]


def test_the_needle_comes_on_top_of_the_frames_and_the_prompt_is_laid_out_as_published():
    model = Oracle()
    film = hay(before=torch.tensor([5]), after=torch.tensor([6, 6, 6]))
    assert found(model, film, needle(), 10, 1.0)
    assert model.shapes == [(1, 1 + 11 * 2 + 2 + 3 + 2, 4)]  # before, frames, question, after, answer


def test_without_its_frame_a_needle_is_not_found():
    assert not found(Oracle(), hay(), needle(), 10, 0.4, present=False)


def test_haystacks_are_nested_or_spread_over_the_film():
    frames = torch.arange(10.0)[:, None, None].expand(10, 2, 4)
    own = torch.full((2, 4), -1.0)
    assert Haystack(frames).film(4, 0.5, own)[:, 0, 0].tolist() == [0, 1, -1, 2, 3]
    got = Haystack(frames, sampling="uniform").film(4, 0.5, own)[:, 0, 0].tolist()
    assert got[:2] + got[3:] == np.linspace(0, 9, 4, dtype=int).tolist()


@pytest.mark.parametrize("slip", [0, 1])
def test_one_wrong_word_of_an_answer_is_wrong(slip):
    assert not found(Oracle(slip=slip), hay(), needle(), 10, 0.0)


def test_the_known_variants_are_looser():
    def decode(ids):
        return "".join({11: "Yel ", 12: "low", 13: "yel", 14: "LOW"}.get(i, "?") for i in ids)

    other = Needle(needle(13, 14).tokens, torch.tensor([3]), torch.tensor([11, 12]))  # the oracle says 13, 14
    assert not found(Oracle(), hay(), other, 10, 0.0)
    assert found(Oracle(), hay(), other, 10, 0.0, rule="text", decode=decode)
    assert not found(Oracle(), hay(), other, 10, 0.0, rule="generated", decode=decode)
    short = Needle(needle().tokens, torch.tensor([3]), torch.tensor([12]))  # it says 11, 12: the answer lies in it
    assert not found(Oracle(), hay(), short, 10, 0.0)
    assert found(Oracle(), hay(), short, 10, 0.0, rule="generated", decode=decode)


PUBLISHED = {  # hits of five needles at six depths, for 200, 400, ... 3000 frames: the repository's all_accuracies.json
    "LongVA-7B": (
        "555555 555555 555555 555555 555555 555555 535555 554555 555355 555255 553555 522335 543435 543325 534425",
        0.908888888888889,
    ),
    "32K, base 1e6": ("233334 112333 111122 111112 222223 111112" + 9 * " 000000", 0.14666666666666667),
    "32K, base 1e8": (
        "434443 333333 332333 223233 222222 111112 112223 222223 111112 011101 000001 000001 000000 000000 000000",
        0.28444444444444444,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_results_average_to_the_published_figure(name):
    columns, average_accuracy = PUBLISHED[name]
    cells = [
        {"Num. Frame": 200 * (n + 1), "Frame Depth": 20.0 * d, "Score": int(hits) / 5}
        for n, column in enumerate(columns.split())
        for d, hits in enumerate(column)
    ]
    assert len(cells) == 90
    assert average(cells) == pytest.approx(average_accuracy, abs=1e-12)


def test_the_published_files_are_written_and_the_rule_is_named(tmp_path):
    cells = run(Oracle(3), hay(), [needle()], [10, 20], depth_grid(0.5), folder=tmp_path)
    assert json.loads((tmp_path / "all_accuracies.json").read_text()) == cells
    assert (tmp_path / "avg_accuracy.txt").read_text() == f"Average Accuracy: {average(cells)}\n"
    assert json.loads((tmp_path / "recipe.json").read_text())["rule"] == "ids"
    heatmap(cells, tmp_path / "heatmap.png")
    assert (tmp_path / "heatmap.png").stat().st_size > 1000


def test_depths_are_those_of_the_published_code():
    for step in (0.1, 0.2, 0.25, 0.5):
        assert depth_grid(step) == np.arange(0, 1 + step, step).tolist()
    with pytest.raises(ValueError, match="must divide 1"):
        depth_grid(0.3)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: found(Oracle(), hay(), needle(), 41, 0.0), "41 frames were asked for, the haystack has 40"),
        (lambda: found(Oracle(), hay(), needle(), 10, 1.1), r"a depth lies in \[0, 1\]"),
        (lambda: found(Oracle(limit=20), hay(), needle(), 10, 0.0), "are 26 tokens, the model says it reads 20"),
        (lambda: found(Oracle(), hay(), needle(), 10, 0.0, rule="text"), "give decode="),
        (lambda: found(Oracle(), hay(), needle(), 10, 0.0, rule="ppl"), "rule must be one of ids, text, generated"),
        (
            lambda: found(Oracle(), hay(), Needle(torch.zeros(3, 4), torch.tensor([3]), torch.tensor([1])), 10, 0.0),
            r"has \(2, 4\) tokens and width, the needle \(3, 4\)",
        ),
        (
            lambda: found(Oracle(), hay(), Needle(torch.zeros(2, 4), torch.tensor([3]), torch.tensor([])), 10, 0.0),
            "the answer has no word",
        ),
        (lambda: run(Oracle(), hay(), [], [10], [0.0]), "needs needles, lengths and depths"),
        (lambda: hay(sampling="random"), "sampling must be 'prefix' or 'uniform'"),
        (lambda: Haystack(torch.zeros(4, 4)), "tokens are"),
        (lambda: average([]), "no cells"),
    ],
)
def test_what_cannot_be_scored_is_refused(call, says):
    with pytest.raises(ValueError, match=says):
        call()


def test_a_real_language_model_scores_as_its_logits_say():
    torch.manual_seed(0)
    model = small_qwen(50, dim=16, layers=1, heads=2, positions=256).double().eval()
    film, own = torch.randn(12, 2, 16, dtype=torch.float64), torch.randn(2, 16, dtype=torch.float64)
    question = torch.tensor([3, 4])
    row = torch.cat([film[:6], own[None], film[6:]]).flatten(0, 1)[None]
    row = torch.cat([row, model.get_input_embeddings()(question)[None]], 1)
    answer = model.generate(inputs_embeds=row, max_new_tokens=3, do_sample=False)[0]
    assert found(model, Haystack(film), Needle(own, question, answer), 12, 0.5)
    wrong = answer.clone()
    wrong[-1] = (wrong[-1] + 1) % 50
    assert not found(model, Haystack(film), Needle(own, question, wrong), 12, 0.5)


def test_a_film_of_signs_is_scored_cell_by_cell_and_a_reader_that_guesses_is_at_chance():
    torch.manual_seed(0)
    signs = Signs(names=12, fillers=4, facts=2)
    reader = UniRes(
        ConvPatches(8, (8, 8)), small_qwen(signs.vocabulary, dim=16, layers=1, heads=2, positions=256)
    ).eval()
    score = sign_bench(reader, signs, 20, 3, 0)
    assert 0 <= score(20, 0.5) <= 0.67
    assert score(5, 0.0) == sign_bench(reader, signs, 20, 3, 0)(5, 0.0)
