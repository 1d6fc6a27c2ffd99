"""Tiny vision-language models of transformers with random weights in float64, and a prompt for each."""

import pytest
import torch

TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 60,
    "max_position_embeddings": 512,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
PICTURE, FILM, OPEN, CLOSE = 56, 57, 58, 59


def made(model):
    torch.manual_seed(0)
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.25)
    return model.double().eval()


@pytest.fixture(scope="session")
def llava_onevision():
    """A model, and inputs of one row: words, a film of two frames, words."""
    import transformers

    tower = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.LlavaOnevisionConfig(
        text_config={**TEXT, "model_type": "qwen2"},
        vision_config={
            **tower,
            "model_type": "siglip_vision_model",
            "image_size": 16,
            "patch_size": 4,
            "vision_use_head": False,
        },
        image_token_index=PICTURE,
        video_token_index=FILM,
    )
    model = made(transformers.LlavaOnevisionForConditionalGeneration(config))
    ids = torch.tensor([[5, 6, *[FILM] * 9, 7, 8, 9]])
    pixels = torch.randn(1, 2, 3, 16, 16, dtype=torch.float64)
    return model, {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values_videos": pixels}


@pytest.fixture(scope="session")
def qwen2_5_vl():
    """A model, and inputs of two rows of different length: words, a picture, words."""
    import transformers

    vision = {"depth": 2, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "out_hidden_size": 32}
    config = transformers.Qwen2_5_VLConfig(
        text_config={
            **TEXT,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [1, 1, 2]},
        },
        vision_config={**vision, "fullatt_block_indexes": [1], "patch_size": 4, "window_size": 16},
        image_token_id=PICTURE,
        video_token_id=FILM,
        vision_start_token_id=OPEN,
        vision_end_token_id=CLOSE,
    )
    model = made(transformers.Qwen2_5_VLForConditionalGeneration(config))
    rows = [[5, 6, OPEN, *[PICTURE] * 6, CLOSE, 7, 8, 9], [0, 0, 4, OPEN, *[PICTURE] * 6, CLOSE, 7, 3]]
    ids = torch.tensor(rows)
    mask = (ids != 0).long()
    return model, {
        "input_ids": ids,
        "attention_mask": mask,
        "mm_token_type_ids": (ids == PICTURE).int(),
        "pixel_values": torch.randn(48, 3 * 2 * 4 * 4, dtype=torch.float64),
        "image_grid_thw": torch.tensor([[1, 4, 6], [1, 4, 6]]),
    }


@pytest.fixture(params=["llava_onevision", "qwen2_5_vl"])
def tiny(request):
    """Each of the models with its inputs."""
    return request.getfixturevalue(request.param)
