"""Oracles: the models of transformers themselves, called with pixels or with embeddings placed by hand."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from seefar import media
from seefar.sequence import Clip
from seefar.vlm.hf_folder import read_processing
from seefar.vlm.plan import choose_frames
from seefar.vlm.recipes import RECIPES, recipe
from seefar.vlm.wrap import check_seam, load_folder, wrap

FAMILIES = ("qwen2_5_vl", "llava_onevision", "smolvlm")
QUESTION = "When does the red square leave the picture?"
BUDGET = 97


@pytest.fixture(scope="module")
def wrapped(hf_folders):
    made = {family: load_folder(folder) for family, folder in hf_folders.items()}
    for each in made.values():
        each.max_new_tokens = 5
    return made


@pytest.fixture(scope="module")
def seen(wrapped, hf_film):
    """The film through each tower once, at 2 fps, all 24 frames."""
    video = media.open(hf_film)
    films = {}
    for family, model in wrapped.items():
        films[family] = model.see(
            video, choose_frames(model.family, recipe("pool"), video, budget=BUDGET, fps=2.0), 2.0
        )
    return films


def whole_inputs(model, seen, clip):
    """What the model's own processor would pass for these frames: pixels, and what its positions need."""
    pixels = model.family.pixels(clip.frames, model.family.frame_size(*clip.frames.shape[-2:], len(clip)))
    ids = model.prompt(seen, QUESTION, 10**6).inputs()["input_ids"]
    if model.family.model_type == "smolvlm":
        return {"input_ids": ids, "pixel_values": pixels[None]}
    if model.family.model_type == "llava_onevision":
        return {"input_ids": ids, "pixel_values_videos": pixels[None]}
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    halves = [Qwen2VLImageProcessorPil().patchify(frame.numpy(), 14, 2, 2) for frame in pixels]
    pairs = [
        np.concatenate([a.reshape(-1, 3, 2, 196)[:, :, :1], b.reshape(-1, 3, 2, 196)[:, :, :1]], 2).reshape(len(a), -1)
        for (a, _, _), (b, _, _) in zip(halves[::2], halves[1::2], strict=True)
    ]
    return {
        "input_ids": ids,
        "pixel_values_videos": torch.from_numpy(np.concatenate(pairs)),
        "video_grid_thw": torch.tensor([[len(pairs), *halves[0][1:]]]),
        "mm_token_type_ids": (ids == model.family.token_id).int() * 2,
        "second_per_grid_ts": torch.tensor([float(clip.seconds[2] - clip.seconds[0])], dtype=torch.float64),
    }


def even_clip(hf_film, count):
    clip = media.open(hf_film).clip(media.Fps(1.0))
    return Clip(clip.frames[:count], clip.seconds[:count])


def seen_clip(model, clip):
    from seefar.vlm.families import Shown
    from seefar.vlm.plan import step_seconds
    from seefar.vlm.wrap import Seen

    size = model.family.frame_size(*clip.frames.shape[-2:], len(clip))
    seq, seconds = model.encode([clip], size)
    starts = step_seconds(seconds, model.family.step)[:, 0]
    return Seen(seq, Shown(starts, *model.family.token_grid(size)), len(seconds), 12.0)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_identity_gives_the_logits_of_the_model_itself(wrapped, hf_film, hf_folders, family):
    model = wrap(wrapped[family].model, hf_folders[family], positions="transformers")
    clip = even_clip(hf_film, 8)
    seen = seen_clip(model, clip)
    want = model.model(**whole_inputs(model, seen, clip)).logits
    got = model.model(**model.prompt(seen, QUESTION, 10**6).inputs()).logits
    assert want.abs().max() > 0.5, "weights so small that anything would pass"
    torch.testing.assert_close(got, want, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_published_positions_change_qwens_logits_in_a_long_film_and_only_after_it(wrapped, hf_film):
    model, clip = wrapped["qwen2_5_vl"], even_clip(hf_film, 12)
    seen = seen_clip(model, clip)
    inputs = whole_inputs(model, seen, clip)
    theirs = model.model(**inputs).logits[0]
    ours = model.model(**model.prompt(seen, QUESTION, 10**6).inputs()).logits[0]
    after = int((inputs["input_ids"][0] == model.family.token_id).nonzero().max()) + 1
    torch.testing.assert_close(ours[:after], theirs[:after], rtol=0, atol=1e-5)
    assert (ours[after:] - theirs[after:]).abs().max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_identity_generates_what_plain_greedy_decoding_of_its_logits_gives(wrapped, seen, family):
    model = wrapped[family]
    prompt = model.prompt(seen[family], QUESTION, 10**6)
    got = model.model.generate(**prompt.inputs(), max_new_tokens=5, do_sample=False)[0]
    given = prompt.inputs()
    for _ in range(5):
        given["mm_encoder_outputs"] = prompt.inputs()["mm_encoder_outputs"]
        word = model.model(**given, use_cache=False).logits[:, -1].argmax(-1, keepdim=True)
        given["input_ids"] = torch.cat([given["input_ids"], word], 1)
        given["attention_mask"] = torch.ones_like(given["input_ids"])
        if "position_ids" in given:
            given["position_ids"] = torch.cat([given["position_ids"], given["position_ids"][..., -1:] + 1], -1)
        if word.item() == model.processing.tokenizer.eos_token_id:
            break
    assert got.tolist() == given["input_ids"][0].tolist()


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_the_budget_holds_and_what_reaches_the_language_model_says_where_it_came_from(wrapped, seen, family, name):
    model, film = wrapped[family], seen[family]
    if name == "identity":
        with pytest.raises(ValueError, match=rf"{len(film.seq)} tokens do not fit"):
            model.prompt(film, QUESTION, BUDGET)
        prompt = model.prompt(film, QUESTION, len(film.seq) + model.family.tail)
    else:
        prompt = model.prompt(film, QUESTION, BUDGET, recipe(name).make())
    inputs = prompt.inputs()
    kept, holes = prompt.kept, inputs["input_ids"][0] == model.family.token_id
    features = torch.cat(
        [part.flatten(0, -2) for part in inputs["mm_encoder_outputs"][model.family.modality].pooler_output]
    )
    assert int(holes.sum()) == len(features) == len(kept) + model.family.tail
    if name != "identity":
        each = film.seq.grid[1] * film.seq.grid[2]
        room = BUDGET - model.family.tail
        assert len(kept) <= room
        assert len(kept) == room // each * each or name in ("pool", "relevance")
        assert len(kept) == room or name != "relevance"
    assert torch.equal(prompt.slots, holes.nonzero()[: len(kept), 0])
    assert torch.equal(features[: len(kept)], kept.tokens[0])
    truth = {tuple(span) for span in film.seq.span[0].tolist()}
    if name in ("merge", "pool"):
        assert float(kept.mass.sum()) == len(film.seq)
        assert {second for span in kept.span[0].tolist() for second in span} <= {s for span in truth for s in span}
    else:
        whole = {
            (*s, *b): t
            for s, b, t in zip(film.seq.span[0].tolist(), film.seq.box[0].tolist(), film.seq.tokens[0], strict=True)
        }
        for span, box, token in zip(kept.span[0].tolist(), kept.box[0].tolist(), kept.tokens[0], strict=True):
            assert torch.equal(whole[(*span, *box)], token), "the features of another time or place"
    assert bool((kept.span[0, :, 0].diff() >= 0).all())

    embeds = model.model.get_input_embeddings()(inputs["input_ids"]).clone()
    embeds[0, holes] = features
    rest = {key: inputs[key] for key in ("attention_mask", "position_ids") if key in inputs}
    want = model.model(inputs_embeds=embeds, **rest).logits
    torch.testing.assert_close(model.model(**prompt.inputs()).logits, want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_keeps_its_budget_and_names_moments_of_the_film(wrapped, hf_film, family, name):
    video = media.open(hf_film)
    stamps = {round(float(second), 6) for second in video.clip(media.Fps(5.0)).seconds}
    (answer,) = wrapped[family].answer(video, [QUESTION], budget=BUDGET, fps=2.0, recipe=name)
    assert 0 < answer.cost.tokens_kept <= BUDGET
    assert answer.question == QUESTION
    assert answer.moments and list(answer.moments) == sorted(answer.moments, key=lambda moment: -moment.score)
    for moment in answer.moments:
        assert {round(moment.start, 6), round(moment.end, 6)} <= stamps
        assert moment.start <= moment.end and 0 <= moment.score <= 1
    assert {round(second, 6) for second in answer.looked} <= stamps
    assert answer.cost.frames_kept == len(answer.looked) <= answer.cost.frames_seen
    assert answer.cost.frames_seen == answer.sampling["used"]["frames"]
    assert set(answer.cost.seconds) == {"read", "encode", "compress", "generate"}
    if name == "identity":
        assert answer.cost.tokens_seen == answer.cost.tokens_kept
        assert answer.cost.frames_seen < 24 and "fps=2 asks for 24 frames" in answer.warnings[0]
    else:
        assert answer.cost.frames_seen == 24 and answer.warnings == ()


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_chunks_of_frames_give_what_one_call_gives_and_no_call_sees_more(wrapped, hf_film, family):
    model = wrapped[family]
    clip = media.open(hf_film).clip(media.Uniform(11))
    size = model.family.frame_size(*clip.frames.shape[-2:], 11)
    whole, seconds = model.encode([clip], size)
    pieces = [Clip(f, s) for f, s in zip(clip.frames.split(3), clip.seconds.split(3), strict=True)]
    calls = []
    tower = getattr(model.model.base_model, model.family.vision)
    hook = tower.register_forward_hook(lambda *_: calls.append(1))
    parts, same = model.encode(pieces, size)
    hook.remove()
    assert len(calls) >= 4
    assert torch.equal(seconds, same) and torch.equal(parts.span, whole.span) and parts.grid == whole.grid
    torch.testing.assert_close(parts.tokens, whole.tokens, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_three_questions_cost_one_look(wrapped, hf_film, family):
    model, video, calls = wrapped[family], media.open(hf_film), []
    hook = getattr(model.model.base_model, model.family.vision).register_forward_hook(lambda *_: calls.append(1))
    questions = [QUESTION, "What enters at the left?", "How many frames?"]
    answers = model.answer(video, questions, budget=BUDGET, fps=2.0, recipe="uniform")
    hook.remove()
    assert len(calls) == -(-24 // model.chunk)
    assert [answer.question for answer in answers] == questions
    alone = model.answer(video, questions[1:2], budget=BUDGET, fps=2.0, recipe="uniform")
    assert answers[1].text == alone[0].text and answers[1].moments == alone[0].moments


@torch.no_grad()
def test_qwens_kept_tokens_keep_the_place_they_had_in_the_whole_film(wrapped, seen):
    model, film = wrapped["qwen2_5_vl"], seen["qwen2_5_vl"]
    whole = model.prompt(film, QUESTION, 10**6)
    places = whole.inputs()["position_ids"][1:, 0]
    at = {
        (*s, *b): places[:, slot]
        for s, b, slot in zip(film.seq.span[0].tolist(), film.seq.box[0].tolist(), whole.slots, strict=True)
    }
    T, H, W = film.seq.grid
    first = int(whole.slots[0])
    starts = film.seq.span[0, :: H * W, 0]
    assert places[0, whole.slots[:: H * W]].tolist() == [first + int((s - starts[0]) * 2 + 1e-6) for s in starts]
    assert places[1, whole.slots].reshape(T, H, W)[0, :, 0].tolist() == list(range(first, first + H))
    assert places[2, whole.slots].reshape(T, H, W)[0, 0].tolist() == list(range(first, first + W))
    for name in ("novelty", "relevance"):
        prompt = model.prompt(film, QUESTION, BUDGET, recipe(name).make())
        some = prompt.inputs()["position_ids"]
        assert torch.equal(some[0, 0], torch.arange(some.shape[2]))
        for span, box, slot in zip(
            prompt.kept.span[0].tolist(), prompt.kept.box[0].tolist(), prompt.slots, strict=True
        ):
            assert torch.equal(some[1:, 0, slot], at[(*span, *box)])
        assert torch.equal(some[1:, 0, -4:], places[:, -4:])


@torch.no_grad()
def test_onevisions_newline_comes_last_whatever_is_dropped(wrapped, seen):
    model = wrapped["llava_onevision"]
    for name in RECIPES:
        budget = 10**6 if name == "identity" else BUDGET
        inputs = model.prompt(seen["llava_onevision"], QUESTION, budget, recipe(name).make()).inputs()
        assert torch.equal(inputs["mm_encoder_outputs"]["video"].pooler_output[0, -1], model.model.model.image_newline)


def test_uneven_frames_and_an_odd_one_keep_their_true_seconds(wrapped, tmp_path):
    stamps = [0.0, 0.2, 1.7, 1.9, 5.0, 5.1, 9.3]
    pictures = (np.full((64, 96, 3), 30 * k, np.uint8) for k in range(7))
    film = media.write_video(tmp_path / "uneven.mp4", pictures, 5, seconds=stamps)
    spans = {}
    for family, model in wrapped.items():
        video = media.open(film)
        frames = choose_frames(model.family, recipe("pool"), video, budget=BUDGET, fps=1000.0)
        film_seen = model.see(video, frames, 1000.0)
        spans[family] = film_seen.seq.span[0].unique_consecutive(dim=0)
    pairs = torch.tensor([[0.0, 0.2], [1.7, 1.9], [5.0, 5.1], [9.3, 9.3]], dtype=torch.float64)
    torch.testing.assert_close(spans["qwen2_5_vl"], pairs, rtol=0, atol=1e-4)
    for family in ("llava_onevision", "smolvlm"):
        torch.testing.assert_close(spans[family][:, 0], torch.tensor(stamps, dtype=torch.float64), rtol=0, atol=1e-4)


def hooks_of(model):
    return [(name, len(part._forward_hooks), len(part._forward_pre_hooks)) for name, part in model.named_modules()]


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_of_the_model_is_patched(wrapped, hf_film, family):
    model = wrapped[family].model
    words = torch.tensor([wrapped[family].processing.tokenizer("the blue circle")["input_ids"]])
    before = model.generate(words, max_new_tokens=4, do_sample=False)
    forward, names, hooks = type(model).forward, set(vars(model)), hooks_of(model)
    wrapped[family].answer(media.open(hf_film), [QUESTION], budget=BUDGET, recipe="pool")
    assert type(model).forward is forward and set(vars(model)) == names
    assert hooks_of(model) == hooks
    assert torch.equal(model.generate(words, max_new_tokens=4, do_sample=False), before)


def test_progress_and_a_compressor_of_ones_own(wrapped, hf_film, hf_folders):
    from seefar.compress.pool import GridPool

    told = []
    model = wrap(
        wrapped["smolvlm"].model, hf_folders["smolvlm"], compress=GridPool((3, 2, 2)), max_new_tokens=2, name="mine"
    )
    (answer,) = model.answer(media.open(hf_film), ["What?"], budget=40, fps=2.0, progress=lambda *now: told.append(now))
    assert answer.model == "mine" and answer.cost.tokens_kept == 8 * 2 * 2
    assert told[:3] == [("look", 16, 24), ("look", 24, 24), ("answer", 0, 1)] and told[-1] == ("answer", 1, 1)
    named = wrap(wrapped["smolvlm"].model, hf_folders["smolvlm"], compress="uniform")
    assert named.recipe.name == "uniform"


def test_what_cannot_work_is_refused_in_words(wrapped, hf_film, hf_folders, tmp_path):
    video, model = media.open(hf_film), wrapped["llava_onevision"]
    with pytest.raises(
        ValueError, match=r"Unknown recipe 'best'. There are: identity, uniform, novelty, merge, pool, relevance"
    ):
        model.answer(video, [QUESTION], recipe="best")
    with pytest.raises(
        ValueError, match=r"Budget too small: 16 tokens; one frame of this model takes 16, and 1 follows.*: 17\."
    ):
        model.answer(video, [QUESTION], budget=16)
    with pytest.raises(ValueError, match=r"Budget too small: 1 tokens;.*recipe: 2\."):
        model.answer(video, [QUESTION], budget=1, recipe="pool")
    with pytest.raises(ValueError, match="budget must be a positive"):
        model.answer(video, [QUESTION], budget=0)
    with pytest.raises(ValueError, match="no such folder"):
        load_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="must be positive, got 0"):
        wrap(model.model, hf_folders["llava_onevision"], max_frames=0)
    with pytest.raises(ValueError, match="no language head"):
        check_seam(model.model.model)
    broken = shutil.copytree(hf_folders["llava_onevision"], tmp_path / "broken")
    (broken / "processor_config.json").unlink()
    (broken / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no processor files"):
        load_folder(broken)


def test_a_transformers_without_the_seam_is_named(wrapped):
    class Old(torch.nn.Module):
        def forward(self, input_ids, pixel_values):
            raise AssertionError

    with pytest.raises(
        ValueError, match=r"lacks mm_encoder_outputs; seefar needs >= 5\.23 for Old\. pip install -U transformers"
    ):
        check_seam(Old())


def test_files_of_two_models_mixed_up_are_noticed(wrapped, hf_film):
    model = wrapped["qwen2_5_vl"]
    processing = read_processing(model.processing.origin)
    processing.settings["merge_size"] = 4
    with pytest.raises(ValueError, match=r"do config\.json and the processor files belong together"):
        wrap(model.model, processing).encode([even_clip(hf_film, 2)], (56, 112))


def test_importing_wrap_does_not_import_transformers():
    code = "import sys, seefar.vlm.wrap; print('transformers' in sys.modules, 'torchvision' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "False False\n"
    )
