import pytest
import torch

from seefar import media
from seefar.sequence import VisualSequence
from seefar.vlm.answer import Moment
from seefar.vlm.hf_moments import Listening, moments_of
from seefar.vlm.plan import choose_frames
from seefar.vlm.recipes import recipe
from seefar.vlm.wrap import load_folder


def film_of(seconds, places=1):
    return VisualSequence.of_grid(
        torch.zeros(1, len(seconds), 1, places, 1), torch.tensor(seconds, dtype=torch.float64)
    )


def test_points_that_stand_out_and_follow_each_other_are_one_moment():
    seq = film_of([0.0, 1.0, 2.0, 3.5, 4.0, 9.0, 10.0, 11.0, 12.0, 13.0])
    scores = torch.tensor([0.1, 0.1, 0.8, 0.9, 0.1, 0.1, 0.1, 0.1, 0.95, 0.1])
    found = moments_of(seq, scores)
    assert [(moment.start, moment.end) for moment in found] == [(12.0, 12.0), (2.0, 3.5)]
    assert found[1].score == pytest.approx(0.9)


def test_one_good_token_makes_its_second_stand_out():
    seq = film_of([0.0, 1.0, 2.0, 3.0], places=3)
    scores = torch.full((12,), 0.5)
    scores[7] = 0.9
    assert moments_of(seq, scores) == (Moment(2.0, 2.0, pytest.approx(0.9)),)


def test_a_merged_token_gives_the_whole_stretch_that_it_saw():
    seq = film_of([0.0, 1.0, 2.0, 3.0, 4.0]).merge(torch.tensor([[0, 1, 1, 1, 2]]))
    assert [(m.start, m.end) for m in moments_of(seq, torch.tensor([0.2, 0.9, 0.2]))] == [(1.0, 3.0)]


def test_a_film_without_differences_is_one_moment_and_one_without_tokens_none():
    assert [(m.start, m.end) for m in moments_of(film_of([5.0, 6.0]), torch.tensor([0.5, 0.5]))] == [(5.0, 6.0)]
    assert moments_of(film_of([1.0]).take(torch.zeros(1, 1, dtype=torch.bool)), torch.zeros(0)) == ()


def test_at_most_so_many_strongest_first():
    seconds = [float(k) for k in range(40)]
    scores = torch.zeros(40)
    scores[1::5] = torch.linspace(0.9, 1.0, 8)
    found = moments_of(film_of(seconds), scores, most=3)
    assert [moment.start for moment in found] == [36.0, 31.0, 26.0]


@pytest.mark.parametrize("family", ("qwen2_5_vl", "llava_onevision", "smolvlm"))
@torch.no_grad()
def test_what_is_heard_while_generating_is_what_one_pass_over_prompt_and_answer_shows(hf_folders, hf_film, family):
    """Oracle: output_hidden_states of the model, without a cache and without a hook."""
    model = load_folder(hf_folders[family])
    video = media.open(hf_film)
    seen = model.see(video, choose_frames(model.family, recipe("pool"), video, budget=97, fps=1.0), 1.0)
    prompt = model.prompt(seen, "What leaves?", 97, recipe("merge").make())
    given = prompt.inputs()
    length = given["input_ids"].shape[1]
    layers = getattr(model.model.base_model, model.family.language).layers
    with Listening(layers[1], prompt.slots, length) as listening:
        ids = model.model.generate(**given, max_new_tokens=4, do_sample=False)
    heard = listening.scores()

    whole = prompt.inputs()
    whole["input_ids"], whole["attention_mask"] = ids[:, :-1], torch.ones_like(ids[:, :-1])
    if "position_ids" in whole:
        more = torch.arange(1, ids.shape[1] - length)
        whole["position_ids"] = torch.cat([whole["position_ids"], whole["position_ids"][..., -1:] + more], -1)
    states = model.model(**whole, output_hidden_states=True, use_cache=False).hidden_states[2][0]
    film, answer = states[prompt.slots], states[length - 1 :].mean(0)
    film, answer = film - film.mean(0), answer - film.mean(0)
    want = (1 + (film @ answer) / (film.norm(dim=1) * answer.norm())) / 2
    torch.testing.assert_close(heard, want, rtol=0, atol=1e-5)
    assert heard.std() > 0.01
