"""Tiny models of the supported families in real folders: weights, trained tokenizer, chat template, processor files."""

import json

import numpy as np
import pytest
import torch

FAMILIES = ("qwen2_5_vl", "llava_onevision", "smolvlm")

WORDS = [
    "When does the red square leave the picture? The blue circle enters at the left and leaves at the right.",
    "You are provided the following series of twenty frames from a 0:00:12 [H:MM:SS] video. Frame from 00:07:",
    "user assistant system You are a helpful assistant. one two three four five six seven eight nine ten eleven",
]

TEMPLATES = {
    "qwen2_5_vl": "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>{% else %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "llava_onevision": "{% for m in messages %}<|im_start|>{{ m['role'] }} {% for c in m['content'] %}"
    "{% if c['type'] == 'video' %}<video>\n{% endif %}{% endfor %}{% for c in m['content'] %}"
    "{% if c['type'] == 'text' %}{{ c['text'] }}{% endif %}"
    "{% endfor %}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    "smolvlm": "{{ 'not for films' }}",
}
SPECIAL = {
    "qwen2_5_vl": ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"],
    "llava_onevision": ["<image>", "<video>"],
    "smolvlm": ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"],
}
CLIP = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
PIXELS = {
    "qwen2_5_vl": {"size": {"shortest_edge": 56 * 56, "longest_edge": 112 * 168}, "resample": 3, **CLIP},
    "llava_onevision": {"size": {"height": 56, "width": 56}, "resample": 3, **CLIP},
    "smolvlm": {"size": {"longest_edge": 96}, "max_image_size": {"longest_edge": 64}, "resample": 1, **HALF},
}


def tokenizer(family):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *SPECIAL[family]]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        WORDS, trainers.BpeTrainer(vocab_size=420, special_tokens=marks, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=marks[3:],
        chat_template=TEMPLATES[family],
    )


def config(family, words):
    import transformers

    text = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": len(words),
        "max_position_embeddings": 8192,
        "bos_token_id": None,
        "eos_token_id": words.convert_tokens_to_ids("<|im_end|>"),
        "pad_token_id": words.convert_tokens_to_ids("<|endoftext|>"),
    }
    ids = {mark: words.convert_tokens_to_ids(mark) for mark in SPECIAL[family]}
    if family == "qwen2_5_vl":
        rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
        vision = {"depth": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 48, "out_hidden_size": 64}
        return transformers.Qwen2_5_VLConfig(
            text_config={**text, "rope_parameters": rope},
            vision_config={**vision, "fullatt_block_indexes": [1], "tokens_per_second": 2, "window_size": 112},
            image_token_id=ids["<|image_pad|>"],
            video_token_id=ids["<|video_pad|>"],
            vision_start_token_id=ids["<|vision_start|>"],
            vision_end_token_id=ids["<|vision_end|>"],
        )
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}
    if family == "llava_onevision":
        return transformers.LlavaOnevisionConfig(
            text_config={**text, "model_type": "qwen2"},
            vision_config={
                **tower,
                "model_type": "siglip_vision_model",
                "image_size": 56,
                "patch_size": 8,
                "vision_use_head": False,
            },
            image_token_index=ids["<image>"],
            video_token_index=ids["<video>"],
        )
    return transformers.SmolVLMConfig(
        text_config={**text, "model_type": "llama"},
        vision_config={**tower, "image_size": 64, "patch_size": 8},
        image_token_id=ids["<image>"],
        scale_factor=2,
    )


@pytest.fixture(scope="session")
def hf_folders(tmp_path_factory):
    """A folder for each family, as save_pretrained leaves it; float32, random weights, seeded."""
    from transformers import AutoModelForImageTextToText

    made = {}
    for family in FAMILIES:
        folder = tmp_path_factory.mktemp(family)
        words = tokenizer(family)
        words.save_pretrained(folder)
        torch.manual_seed(0)
        model = AutoModelForImageTextToText.from_config(config(family, words)).float().eval()
        for weight in model.parameters():
            if weight.ndim > 1:
                torch.nn.init.normal_(weight, std=0.15)
        model.save_pretrained(folder)
        (folder / "processor_config.json").write_text(json.dumps({"video_processor": PIXELS[family]}))
        made[family] = folder
    return made


@pytest.fixture(scope="session")
def hf_film(tmp_path_factory):
    """12 s of H.264 at 5 fps: a red square crosses a picture whose shades drift, so that no two frames are alike."""
    from seefar.media import write_video

    def frames():
        rows, columns = np.mgrid[0:96, 0:144]
        for k in range(60):
            base = 110 + 60 * np.sin(columns / 17 + k / 9) + 40 * np.cos(rows / (11 + k / 6))
            picture = np.stack([base, np.roll(base, 3 * k, 1), 255 - base], -1).clip(0, 255)
            picture[30:60, 2 * k : 2 * k + 24] = (230, 20, 30)
            yield picture.astype(np.uint8)

    return write_video(tmp_path_factory.mktemp("film") / "square.mp4", frames(), 5, crf=12)
