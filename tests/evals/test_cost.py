"""The arithmetic of a decoder, against the operations that torch counts in real models of transformers."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from seefar.evals.cost import QWEN2_7B, Decoder


def counted(model, **inputs):
    """Operations inside the linear layers and the attention of all layers, as torch counts them."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        cache = model(**inputs).past_key_values
    by_part = counter.get_flop_counts()
    return sum(sum(ops.values()) for name, ops in by_part.items() if name.count(".") == 2 and ".layers." in name), cache


@pytest.mark.parametrize("kind, head", [("Qwen2", None), ("Llama", 24)])
def test_the_count_is_that_of_torch_in_prefill_and_decoding(kind, head):
    import transformers

    sizes = {"num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 112, "vocab_size": 50}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2} | ({} if head is None else {"head_dim": head})
    config = getattr(transformers, f"{kind}Config")(**sizes, attn_implementation="eager")
    model = getattr(transformers, f"{kind}Model")(config).eval()
    shape = Decoder.of(config)
    found, cache = counted(model, input_ids=torch.arange(37)[None])
    assert found == shape.flops([37] * 3)
    assert counted(model, input_ids=torch.tensor([[1]]), past_key_values=cache)[0] == shape.flops([1] * 3, [38] * 3)
    assert shape.kv_bytes([38] * 3, 4) == sum(4 * (layer.keys.numel() + layer.values.numel()) for layer in cache.layers)


def test_layers_are_counted_each_by_its_own_tokens():
    shape = Decoder(2, 8, 16, 2, 1)
    one = Decoder(1, 8, 16, 2, 1)
    assert shape.flops([10, 3]) == one.flops([10]) + one.flops([3])
    assert one.flops([10]) == 2 * (10 * (8 * 4 * 6 + 3 * 8 * 16) + 2 * 10 * 10 * 8)
    assert shape.flops([0, 0]) == 0


def test_qwen2_7b_has_its_parameters():
    each = QWEN2_7B.flops([1] * 28, [1] * 28) / 2 - 28 * 2 * 3584  # a token alone: two operations a weight
    assert each == 28 * (3584 * (2 * 3584 + 2 * 512) + 3 * 3584 * 18944)
    assert QWEN2_7B.kv_bytes([1] * 28) == 57_344


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: Decoder(0, 8, 8, 2, 1), "must be positive"),
        (lambda: Decoder(1, 8, 8, 3, 1), "heads the width"),
        (lambda: Decoder(1, 8, 8, 4, 3), "kv_heads must divide"),
        (lambda: QWEN2_7B.flops([1, 2]), "each of 28 layers"),
        (lambda: QWEN2_7B.kv_bytes([-1] * 28), "each of 28 layers"),
        (lambda: QWEN2_7B.flops([2] * 28, [1] * 28), "at least as many"),
    ],
)
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
