"""Slots around a decoder: what the layers read and what is written, by hand. See test_segments.py for the rest."""

import pytest
import torch
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from seefar.mixers import Segments, SlotMemory


def decoder(kind="llama"):
    torch.manual_seed(0)
    size = {"vocab_size": 31, "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None}
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**size, n_embd=12, n_layer=2, n_head=2)).double().eval()
    wide = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    return LlamaForCausalLM(LlamaConfig(**size, **wide)).double().eval()


def ids(n):
    return torch.randint(31, (2, n), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_at_first_every_segment_comes_out_as_the_model_alone_gives_it(kind):
    model = decoder(kind)
    got, _ = Segments(model, SlotMemory(model, 3), segment=5)(ids(13))
    want = torch.cat([model(piece).logits for piece in ids(13).split(5, 1)], 1)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_layers_read_before_and_the_last_one_writes(kind):
    model = decoder(kind)
    memory = SlotMemory(model, 3)
    for read in memory.reads:
        nn.init.normal_(read.o_proj.weight, std=0.3)
    got, state = Segments(model, memory, segment=5)(ids(12))
    base = model.base_model
    layers, norm = (base.h, base.ln_f) if kind == "gpt2" else (base.layers, base.norm)
    m, outs = memory.write.begin(2), []
    for piece in ids(12).split(5, 1):
        h = model(piece, output_hidden_states=True).hidden_states[0]
        for i, layer in enumerate(layers):
            h = h + memory.reads[i](memory.norms[i](h), m)
            h = alone(model, piece, layer, h)
        outs.append(model.get_output_embeddings()(norm(h)))
        m = memory.write(norm(h), m)
    torch.testing.assert_close(got, torch.cat(outs, 1), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(state.m_BKD, m, rtol=1e-10, atol=1e-10)


def alone(model, piece, layer, h):
    """The output of one layer for the input h, called by the model itself."""
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: ((h, *args[1:]), kwargs), with_kwargs=True),
        layer.register_forward_hook(lambda _, args, out: seen.append(out)),
    ]
    model(piece)
    for handle in handles:
        handle.remove()
    return seen[0] if isinstance(seen[0], torch.Tensor) else seen[0][0]


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="at least one slot, got 0"):
        SlotMemory(decoder(), 0)
    with pytest.raises(ValueError, match="heads must divide dim=12, got 5"):
        SlotMemory(decoder(), 3, heads=5)
