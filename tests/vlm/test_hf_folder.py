import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from seefar.sequence import VisualSequence
from seefar.vlm.families import family_of
from seefar.vlm.hf_folder import Processing, prompt_ids, read_config, read_processing
from seefar.vlm.hf_words import number_words

FAMILIES = ("qwen2_5_vl", "llava_onevision", "smolvlm")
QUESTION = "When does the red square leave the picture?"


def film_of(steps, rows, columns, every=1.0):
    return VisualSequence.of_grid(torch.zeros(1, steps, rows, columns, 1), torch.arange(steps).double() * every)


def copied(hf_folders, family, tmp_path):
    return shutil.copytree(hf_folders[family], tmp_path / "copy")


def prompt_text(folder, seq, duration):
    processing = read_processing(folder)
    ids = prompt_ids(processing, family_of(read_config(folder), processing.settings), seq, QUESTION, duration)
    return processing.tokenizer.decode(ids[0])


def test_a_qwen_film_is_what_its_processor_writes(hf_folders):
    from transformers import Qwen2_5_VLProcessor

    stand_in = SimpleNamespace(video_processor=SimpleNamespace(merge_size=2), video_token="<|video_pad|>")
    grid = {"video_grid_thw": torch.tensor([[3, 4, 6]])}
    want = Qwen2_5_VLProcessor.replace_video_token(stand_in, grid, 0)
    text = prompt_text(hf_folders["qwen2_5_vl"], film_of(3, 2, 3), 6.0)
    assert f"<|vision_start|>{want}<|vision_end|>{QUESTION}<|im_end|>" in text
    assert text.endswith("<|im_start|>assistant\n")


def test_an_onevision_film_is_what_its_processor_writes(hf_folders):
    from transformers import LlavaOnevisionProcessor

    stand_in = SimpleNamespace(num_image_tokens=49, video_token="<video>")
    want = LlavaOnevisionProcessor.replace_video_token(
        stand_in, {"pixel_values_videos": torch.zeros(1, 5, 3, 56, 56)}, 0
    )
    text = prompt_text(hf_folders["llava_onevision"], film_of(5, 4, 4), 6.0)
    assert f"<|im_start|>user {want}\n{QUESTION}" in text


def test_a_smolvlm_film_is_what_its_processor_writes(hf_folders):
    from transformers.models.smolvlm.processing_smolvlm import SmolVLMProcessor

    stand_in = SimpleNamespace(
        image_seq_len=16,
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        global_image_token="<global-img>",
    )
    metadata = SimpleNamespace(fps=1.0, timestamps=[k * 47.0 for k in range(23)], duration=3700.9)
    inputs = {"pixel_values": torch.zeros(1, 23, 3, 64, 64), "video_metadata": [metadata]}
    want = SmolVLMProcessor.replace_video_token(stand_in, inputs, 0)
    text = prompt_text(hf_folders["smolvlm"], film_of(23, 4, 4, 47.0), 3700.9)
    assert text == f"<|im_start|>User: {want}{QUESTION}<end_of_utterance>\nAssistant:"


def test_a_smolvlm_frame_without_tokens_loses_its_label_and_its_marks(hf_folders):
    seq = film_of(6, 2, 2, 61.0)
    keep = torch.tensor([[0, 1, 8, 20, 21, 22, 23]])
    text = prompt_text(hf_folders["smolvlm"], seq.take(keep), 366.0)
    fake = "<fake_token_around_image>"
    frames = [("00:00", 2), ("02:02", 1), ("05:05", 4)]
    labels = "".join(f"\nFrame from {at}:{fake}<global-img>{'<image>' * n}{fake}" for at, n in frames)
    assert f"series of three frames from a 0:06:06 [H:MM:SS] video.\n{labels}\n\n" in text
    assert text.count("Frame from") == 3


def test_numbers_are_spelled_as_num2words_does():
    from num2words import num2words

    for number in [*range(1300), 12_345, 100_000, 100_099, 110_100, 999_999]:
        assert number_words(number) == num2words(number)
    with pytest.raises(ValueError, match="-1"):
        number_words(-1)


@pytest.mark.parametrize("family", FAMILIES)
def test_newer_processor_files_win_over_older_ones(hf_folders, family, tmp_path):
    folder = copied(hf_folders, family, tmp_path)
    older, newer, newest = ({"mark": mark} for mark in (1, 2, 3))
    (folder / "processor_config.json").unlink()
    (folder / "preprocessor_config.json").write_text(json.dumps(older))
    assert read_processing(folder).settings["mark"] == 1
    (folder / "video_preprocessor_config.json").write_text(json.dumps(newer))
    assert read_processing(folder).settings["mark"] == 2
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": {}, "video_processor": newest}))
    assert read_processing(folder).settings["mark"] == 3


def test_qwens_older_pixel_bounds_are_understood(hf_folders):
    config = read_config(hf_folders["qwen2_5_vl"])
    family = family_of(config, {"min_pixels": 3136, "max_pixels": 12845056})
    assert (family.least, family.most) == (3136, 12845056)
    assert family.frame_size(1080, 1920, 10) == (1092, 1932)


def test_qwens_share_of_the_token_limit_shrinks_frames_of_a_long_film(hf_folders):
    config = read_config(hf_folders["qwen2_5_vl"])
    size = {"shortest_edge": 128 * 28 * 28, "longest_edge": 768 * 28 * 28}
    free = family_of(config, {"size": size})
    capped = family_of(config, {"size": size, "cap_pixels_per_frame": True})
    assert free.frame_size(1080, 1920, 768) == capped.frame_size(1080, 1920, 8)
    height, width = capped.frame_size(1080, 1920, 768)
    assert height * width * 768 / 2 / 28**2 <= 128000 * 0.9


def test_an_older_chat_template_file_is_found(hf_folders, tmp_path):
    folder = copied(hf_folders, "qwen2_5_vl", tmp_path)
    (folder / "chat_template.jinja").unlink()
    (folder / "chat_template.json").write_text(json.dumps({"chat_template": "<|video_pad|>!"}))
    assert read_processing(folder).template == "<|video_pad|>!"
    (folder / "chat_template.json").unlink()
    film = film_of(1, 1, 1)
    with pytest.raises(ValueError, match=r"no chat template.*chat_template\.jinja"):
        prompt_text(folder, film, 1.0)


def test_a_processor_object_serves_as_well_as_its_folder(hf_folders):
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    words = read_processing(hf_folders["qwen2_5_vl"]).tokenizer
    given = Processing.of(
        SimpleNamespace(tokenizer=words, image_processor=Qwen2VLImageProcessorPil(), chat_template="x")
    )
    assert given.template == "x"
    assert family_of(read_config(hf_folders["qwen2_5_vl"]), given.settings).least == 56 * 56
    with pytest.raises(ValueError, match="got dict"):
        Processing.of({})


def test_what_is_missing_from_a_folder_is_named(hf_folders, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        read_config(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"no config\.json"):
        read_config(tmp_path)
    folder = copied(hf_folders, "smolvlm", tmp_path)
    (folder / "processor_config.json").unlink()
    with pytest.raises(ValueError, match=r"no processor files.*preprocessor_config\.json"):
        read_processing(folder)
    (folder / "preprocessor_config.json").write_text("{")
    with pytest.raises(ValueError, match=r"preprocessor_config\.json: not readable as JSON"):
        read_processing(folder)
    (folder / "preprocessor_config.json").write_text('{"do_resize": true}')
    for file in folder.glob("token*"):
        file.unlink()
    with pytest.raises(ValueError, match="tokenizer cannot be read"):
        read_processing(folder)


def test_a_model_type_without_adapter_lists_those_that_have_one(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "foo_vl"}')
    with pytest.raises(
        ValueError, match=r"'foo_vl' has no seefar adapter. Works with: llava_onevision, qwen2_5_vl, smolvlm"
    ):
        read_config(tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_question_that_holds_a_placeholder_is_refused(hf_folders, family):
    processing = read_processing(hf_folders[family])
    kind = family_of(read_config(hf_folders[family]), processing.settings)
    for mark in {kind.slot, processing.tokenizer.convert_ids_to_tokens(kind.token_id)}:
        with pytest.raises(ValueError, match="leave it out"):
            prompt_ids(processing, kind, film_of(1, 1, 1), f"What is {mark}?", 1.0)


def test_a_placeholder_that_the_tokenizer_splits_is_reported(hf_folders, tmp_path):
    folder = copied(hf_folders, "smolvlm", tmp_path)
    words = read_processing(folder).tokenizer
    config = json.loads((folder / "config.json").read_text())
    config["image_token_id"] = words.convert_tokens_to_ids("00")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"placeholders for .* features"):
        prompt_text(folder, film_of(2, 2, 2), 2.0)
