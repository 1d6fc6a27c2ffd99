import io
import shutil

import numpy as np
import pytest
import torch

from seefar import media
from seefar.media.info import VideoInfo
from seefar.media.timeline import Timeline
from seefar.vlm.families import LlavaOnevision
from seefar.vlm.plan import choose_frames, plan_wrapped, step_seconds
from seefar.vlm.recipes import RECIPES, recipe
from seefar.vlm.wrap import load_folder

FAMILIES = ("qwen2_5_vl", "llava_onevision", "smolvlm")
QUESTION = "When does the red square leave the picture?"


class TwoHours:
    """What a plan asks of a film: 7200 s at 25 fps."""

    info = VideoInfo("day.mp4", 7200.0, 1920, 1080, 25.0, 180_000, "h264")
    timeline = Timeline(np.arange(180_000), np.zeros(180_000, bool), np.zeros(1, np.int64), 1 / 25, 0.0, 7200.0)

    def read(self, sampling):
        sampling.choose(self.timeline)
        return iter(())


@pytest.fixture(scope="module")
def models(hf_folders):
    return {family: load_folder(folder) for family, folder in hf_folders.items()}


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_is_told_is_what_is_measured(models, hf_folders, hf_film, family, name):
    video, model = media.open(hf_film), models[family]
    told = plan_wrapped(hf_folders[family], video, budget=97, fps=2.0, recipe=name, question=QUESTION)
    how = recipe(name)
    frames = choose_frames(model.family, how, video, budget=97, fps=2.0)
    seen = model.see(video, frames, 2.0)
    inputs = model.prompt(seen, QUESTION, 97, how.make()).inputs()
    assert told.frames == seen.frames
    assert told.visual_tokens == int((inputs["input_ids"] == model.family.token_id).sum())
    cache = model.model(**inputs, use_cache=True).past_key_values
    held = sum(part.nbytes for layer in cache.layers for part in (layer.keys, layer.values))
    if family == "smolvlm" and name in ("merge", "relevance"):
        assert held <= told.kv_bytes, "frame labels: an upper bound where features decide which frames stay"
    else:
        assert held == pytest.approx(told.kv_bytes, rel=0.05)
    assert told.weight_bytes == sum(weight.nbytes for weight in model.model.parameters())
    assert told.recipe == name and told.model == hf_folders[family].name
    assert set(told.seconds) == {"encode", "prefill", "generate"} and min(told.seconds.values()) > 0
    again = model.plan(video, budget=97, fps=2.0, recipe=name, question=QUESTION)
    assert (again.frames, again.visual_tokens, again.kv_bytes) == (told.frames, told.visual_tokens, told.kv_bytes)


@pytest.mark.parametrize("family", FAMILIES)
def test_for_any_budget_no_more_is_told_or_used(models, hf_folders, hf_film, family):
    video, model = media.open(hf_film), models[family]
    model.max_new_tokens = 1
    for budget in np.random.default_rng(3).integers(20, 420, 6).tolist():
        for name in ("identity", "merge", "pool"):
            told = plan_wrapped(hf_folders[family], video, budget=budget, fps=1.0, recipe=name)
            (answer,) = model.answer(video, [QUESTION], budget=budget, fps=1.0, recipe=name)
            assert answer.cost.tokens_kept == told.visual_tokens <= budget
            assert answer.cost.frames_seen == told.frames


def test_weights_are_not_needed_for_a_plan_and_stay_unread(hf_folders, hf_film, tmp_path):
    bare = shutil.copytree(hf_folders["smolvlm"], tmp_path / "bare")
    (bare / "model.safetensors").unlink()
    assert plan_wrapped(bare, media.open(hf_film), budget=64).weight_bytes > 0


def test_a_rate_above_the_cap_is_said_with_what_was_used_instead():
    family = LlavaOnevision(large(), {})
    frames = choose_frames(family, recipe("merge"), TwoHours(), budget=4096, fps=2.0)
    assert frames.asked == 14400 and len(frames.seconds) == 768
    assert frames.warnings == ("fps=2 asks for 14400 frames, cap is 768 (frames at most): 768 used, one every 9.4 s.",)
    gaps = frames.seconds.diff()
    assert gaps.min() > 9.3 and gaps.max() < 9.45 and 4 < frames.seconds[0] < 5, "spread over the whole film"


def test_without_a_compressor_the_budget_is_the_cap():
    family = LlavaOnevision(large(), {})
    frames = choose_frames(family, recipe(None), TwoHours(), budget=4096, fps=1.0)
    assert frames.grid == (20, 14, 14) and len(frames.seconds) == (4096 - 1) // 196
    assert frames.warnings == (
        "fps=1 asks for 7200 frames, cap is 20 (budget of 4096 tokens, 196 a frame): 20 used, one every 360.0 s.",
    )
    assert choose_frames(family, recipe(None), TwoHours(), budget=4096, fps=1 / 600).warnings == ()


def test_what_follows_the_film_is_paid_for_from_the_budget_too():
    family = LlavaOnevision(large(), {})
    for budget, frames in ((196 * 7, 6), (196 * 7 + 1, 7)):
        assert len(choose_frames(family, recipe(None), TwoHours(), budget=budget, fps=1.0).seconds) == frames


def large():
    from transformers import LlavaOnevisionConfig

    return LlavaOnevisionConfig()


def test_the_kv_cache_of_a_published_configuration_is_that_of_its_formula(hf_film, hf_folders, tmp_path):
    """Qwen2.5-VL-7B, bf16: 28 layers, 4 heads of 128, so 56 KiB a token."""
    from transformers import Qwen2_5_VLConfig

    folder = shutil.copytree(hf_folders["qwen2_5_vl"], tmp_path / "seven")
    (folder / "model.safetensors").unlink()
    text = {"hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4}
    rope = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}
    text |= {"intermediate_size": 18944, "vocab_size": 152064, "rope_parameters": rope, "eos_token_id": 2}
    vision = {"depth": 32, "hidden_size": 1280, "out_hidden_size": 3584, "tokens_per_second": 2}
    tokens = {"video_token_id": Qwen2_5_VLConfig.from_pretrained(hf_folders["qwen2_5_vl"]).video_token_id}
    Qwen2_5_VLConfig(text_config=text, vision_config=vision, dtype="bfloat16", **tokens).save_pretrained(folder)
    told = plan_wrapped(folder, media.open(hf_film), budget=90)
    assert told.kv_bytes % (56 * 1024) == 0
    assert told.visual_tokens < told.kv_bytes // (56 * 1024) < told.visual_tokens + 60
    assert told.weight_bytes == pytest.approx(8.29e9 * 2, rel=0.01)


def test_seconds_of_steps_repeat_the_last_frame():
    seconds = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64)
    assert step_seconds(seconds, 2).tolist() == [[0.0, 0.5], [2.0, 2.0]]
    assert step_seconds(seconds, 1).tolist() == [[0.0, 0.0], [0.5, 0.5], [2.0, 2.0]]


def test_a_pipe_is_asked_to_become_a_file(hf_folders, tmp_path):
    class Pipe(io.FileIO):
        def seekable(self):
            return False

    pictures = (np.full((64, 96, 3), 30 * k, np.uint8) for k in range(7))
    film = media.write_video(tmp_path / "film.mkv", pictures, 5)
    with Pipe(film) as pipe, pytest.raises(ValueError, match="Save it to a file first"):
        plan_wrapped(hf_folders["smolvlm"], media.open(pipe))
