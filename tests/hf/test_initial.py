"""A model's layers look at its embeddings; its cache keeps one vector a token and gives the same words."""

import pytest
import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from seefar.hf import attend_to_initial

SMALL = {
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
IDS = torch.randint(1, 31, (2, 13), generator=torch.Generator().manual_seed(0))
GREEDY = {"max_new_tokens": 5, "do_sample": False}


def tiny(name="Llama", **more):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | more)
    return getattr(transformers, f"{name}ForCausalLM")(config).double().eval()


def by_hand(model, ids):
    """The whole model written out, keys and values from the embeddings."""
    base = model.model
    h = first = base.embed_tokens(ids)
    cos, sin = base.rotary_emb(h, position_ids=torch.arange(ids.shape[1])[None])
    for layer in base.layers:
        attend, norm = layer.self_attn, layer.input_layernorm
        parts = attend.q_proj(norm(h)), attend.k_proj(norm(first)), attend.v_proj(norm(first))
        q, k, v = (part.unflatten(-1, (-1, attend.head_dim)).transpose(1, 2) for part in parts)
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        found = scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        h = h + attend.o_proj(found.transpose(1, 2).flatten(2))
        h = h + layer.mlp(layer.post_attention_layernorm(h))
    return model.lm_head(base.norm(h))


@pytest.mark.parametrize("name", ["Llama", "Qwen2"])
def test_all_layers_look_at_embeddings_until_it_is_restored(name):
    model = tiny(name)
    own, want = model(IDS).logits, by_hand(model, IDS)
    with attend_to_initial(model):
        got = model(IDS, use_cache=False).logits
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(model(IDS).logits, want, rtol=1e-9, atol=1e-9)
    assert torch.equal(model(IDS).logits, own) and not torch.allclose(own, want, atol=1e-2)


def test_gradients_are_those_of_the_model_written_out():
    model = tiny()
    weights = list(model.parameters())
    want = torch.autograd.grad(by_hand(model, IDS).square().sum(), weights)
    with attend_to_initial(model):
        got = torch.autograd.grad(model(IDS, use_cache=False).logits.square().sum(), weights)
    torch.testing.assert_close(got, want, rtol=1e-8, atol=1e-8)


def test_pieces_with_the_cache_give_the_logits_of_the_whole():
    model = tiny()
    want = by_hand(model, IDS)
    with attend_to_initial(model) as attached, torch.no_grad():
        cache, rows = attached.cache(), []
        for piece in (IDS[:, :6], *IDS[:, 6:].split(1, 1)):
            rows.append(model(piece, past_key_values=cache).logits)
    torch.testing.assert_close(torch.cat(rows, 1), want, rtol=1e-9, atol=1e-9)
    assert cache.initial.numel() == IDS.numel() * 32 and cache.get_seq_length() == 13


def greedy(model, ids):
    for _ in range(5):
        ids = torch.cat([ids, by_hand(model, ids)[:, -1:].argmax(-1)], 1)
    return ids


def test_generate_writes_what_the_model_written_out_does_with_a_prompt_that_no_layer_read():
    model = tiny()
    want = greedy(model, IDS)
    with attend_to_initial(model) as attached:
        assert torch.equal(model.generate(IDS, past_key_values=attached.cache(), **GREEDY), want)
        seen = []
        handle = model.model.layers[0].mlp.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].shape[1]))
        assert torch.equal(model.generate(IDS, past_key_values=attached.read(IDS), **GREEDY), want)
        handle.remove()
    assert seen == [1] * 5


def test_padding_in_front_changes_no_word():
    model = tiny()
    want = greedy(model, IDS[:1, 4:])[:, 9:]
    ids = torch.cat([torch.zeros(1, 4, dtype=torch.int64), IDS[:1, 4:]], 1)
    mask = (ids != 0).long()
    with attend_to_initial(model) as attached:
        got = model.generate(ids, attention_mask=mask, past_key_values=attached.cache(), **GREEDY)
    assert torch.equal(got[:, 13:], want)


def test_beams_follow_their_own_past():
    model = tiny()
    with attend_to_initial(model) as attached:
        options = {**GREEDY, "num_beams": 3}
        got = model.generate(IDS, past_key_values=attached.cache(), **options)
        want = model.generate(IDS, use_cache=False, **options)
    assert torch.equal(got, want)


def test_a_crop_takes_the_last_tokens_back():
    model = tiny()
    with attend_to_initial(model) as attached, torch.no_grad():
        cache = attached.read(IDS)
        cache.crop(4)
        assert cache.get_seq_length() == 8
        got = model(IDS[:, 8:9], past_key_values=cache).logits
    torch.testing.assert_close(got, by_hand(model, IDS)[:, 8:9], rtol=1e-9, atol=1e-9)


def test_wrong_input_is_refused():
    model = tiny()
    with pytest.raises(TypeError, match="needs a model of transformers, got Linear"):
        attend_to_initial(torch.nn.Linear(2, 2))
    with pytest.raises(TypeError, match="Qwen3ForCausalLM are not those of Llama"):
        attend_to_initial(tiny("Qwen3", head_dim=8))
    with attend_to_initial(model) as attached:
        with pytest.raises(ValueError, match=r"got DynamicCache; pass past_key_values=attached.cache\(\)"):
            model(IDS, past_key_values=transformers.DynamicCache())
        other = tiny()
        with attend_to_initial(other) as its, pytest.raises(ValueError, match="one that another model filled"):
            model(IDS, past_key_values=its.read(IDS))
        with pytest.raises(ValueError, match="it holds 2 rows, got 1"):
            model(IDS[:1], past_key_values=attached.read(IDS))
        with pytest.raises(ValueError, match="needs token ids"):
            attached.read(IDS[0])
