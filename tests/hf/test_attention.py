"""A model attends by our function and says the same, then by its own again; what cannot be told is refused."""

import copy
import gc
import weakref

import pytest
import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention

from seefar.hf import use_attention
from seefar.ops.attention import attention

SMALL = {
    "vocab_size": 31,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "pad_token_id": None,
    "bos_token_id": None,
    "eos_token_id": None,
}
CLASSES = {"Llama": {"num_key_value_heads": 2}, "Qwen2": {"num_key_value_heads": 2}, "GPTNeoX": {}}


def tiny(name="Llama", **more):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**SMALL | CLASSES.get(name, {}) | more)
    return getattr(transformers, f"{name}ForCausalLM")(config).double().eval()


IDS = torch.randint(31, (2, 23), generator=torch.Generator().manual_seed(0))


def masked(q, k, v, *, causal, scale, allowed=None):
    if allowed is None:
        return attention(q, k, v, causal=causal, scale=scale)
    return scaled_dot_product_attention(q, k, v, attn_mask=allowed, scale=scale, enable_gqa=True)


@pytest.mark.parametrize("name", CLASSES)
def test_exact_attention_gives_the_logits_and_the_words_of_the_model_itself(name):
    model = tiny(name)
    want, words = model(IDS).logits, model.generate(IDS, max_new_tokens=5, do_sample=False)
    with use_attention(model, attention) as attached:
        torch.testing.assert_close(model(IDS).logits, want, rtol=1e-10, atol=1e-10)
        assert torch.equal(model.generate(IDS, max_new_tokens=5, do_sample=False), words)
    assert attached.asked == [0, 1, 2]


def test_gradients_go_through():
    model = tiny()
    want = torch.autograd.grad(model(IDS, labels=IDS).loss, list(model.parameters()))
    with use_attention(model, attention):
        got = torch.autograd.grad(model(IDS, labels=IDS).loss, list(model.parameters()))
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_a_text_in_chunks_needs_no_mask_although_queries_are_fewer_than_keys():
    model, shapes = tiny(), []

    def seen(q, k, v, *, causal, scale):
        shapes.append((q.shape[2], k.shape[2], k.shape[1], causal))
        return attention(q, k, v, causal=causal, scale=scale)

    want = model(IDS).logits
    with use_attention(model, seen, layers=[0]):
        cache, parts = transformers.DynamicCache(config=model.config), []
        for piece in IDS.split([10, 12, 1], 1):
            out = model(piece, past_key_values=cache)
            parts.append(out.logits)
    torch.testing.assert_close(torch.cat(parts, 1), want, rtol=1e-10, atol=1e-10)
    assert shapes == [(10, 10, 2, True), (12, 22, 2, True), (1, 23, 2, True)]


def test_what_was_there_is_back_afterwards_even_after_an_error():
    model = tiny()
    model.set_attn_implementation("eager")
    want = model(IDS).logits
    with pytest.raises(RuntimeError, match="mine"), use_attention(model, lambda *_, causal, scale: 1 / 0 or None):
        raise RuntimeError("mine")
    assert model.config._attn_implementation == "eager"
    torch.testing.assert_close(model(IDS).logits, want, rtol=1e-10, atol=1e-10)
    attached = use_attention(model, attention)
    attached.restore()
    attached.restore()
    assert model.config._attn_implementation == "eager"


def test_the_innermost_function_counts_and_each_layer_says_its_number():
    model, told = tiny(), []

    def zero(q, k, v, *, causal, scale, layer):
        told.append(layer)
        return torch.zeros_like(q)

    plain = model(IDS).logits
    with use_attention(model, attention):
        with use_attention(model, zero, layers=[1]) as inner:
            changed = model(IDS).logits
        torch.testing.assert_close(model(IDS).logits, plain, rtol=1e-10, atol=1e-10)
    assert told == inner.asked == [1] and not torch.allclose(changed, plain)
    model.model.layers[1].self_attn.o_proj.weight.data.zero_()
    torch.testing.assert_close(model(IDS).logits, changed, rtol=1e-10, atol=1e-10)


def test_padding_and_windows_come_as_a_mask_to_a_function_that_takes_one():
    model, mask = tiny("Mistral", num_key_value_heads=2, sliding_window=6), torch.ones_like(IDS)
    mask[0, :4] = 0
    wants = [model(IDS, attention_mask=given).logits for given in (mask, None)]
    with use_attention(model, masked):
        for given, want in zip((mask, None), wants, strict=True):
            got = model(IDS, attention_mask=given).logits
            torch.testing.assert_close(got[:, 4:], want[:, 4:], rtol=1e-10, atol=1e-10)
    with use_attention(model, attention):
        model(IDS[:, :6])  # no longer than the window
        with pytest.raises(ValueError, match=r"layer 0 needs a mask of \(2, 1, 23, 23\).*without padding"):
            model(IDS)
    with use_attention(model, lambda q, k, v, causal, scale: q, layers=[]):
        torch.testing.assert_close(model(IDS).logits, wants[1], rtol=1e-10, atol=1e-10)


def test_a_static_cache_comes_as_a_mask():
    model = tiny()
    words = model.generate(IDS, max_new_tokens=4, do_sample=False)
    with use_attention(model, masked):
        got = model.generate(IDS, max_new_tokens=4, do_sample=False, cache_implementation="static")
    assert torch.equal(got, words)


def test_an_encoder_is_not_causal():
    torch.manual_seed(0)
    more = {"max_position_embeddings": 64, "pad_token_id": 0}
    model = transformers.BertModel(transformers.BertConfig(**SMALL | more)).double().eval()
    want = model(IDS).last_hidden_state
    with use_attention(model, attention):
        torch.testing.assert_close(model(IDS).last_hidden_state, want, rtol=1e-10, atol=1e-10)


def test_one_part_of_a_model_can_be_given_alone():
    model = tiny()
    want = model(IDS).logits
    with use_attention(model.model, attention) as attached:
        torch.testing.assert_close(model(IDS).logits, want, rtol=1e-10, atol=1e-10)
    assert attached.asked == [0, 1, 2]


def test_a_model_that_nobody_holds_any_more_is_freed():
    model = tiny()
    attached, seen = use_attention(model, attention), weakref.ref(model)
    del model
    gc.collect()
    assert seen() is None
    attached.restore()


def test_what_cannot_be_is_refused_with_what_to_do():
    model = tiny()
    with pytest.raises(TypeError, match="a model of transformers, got Linear"):
        use_attention(torch.nn.Linear(1, 1), attention)
    bloom = transformers.BloomForCausalLM(transformers.BloomConfig(vocab_size=31, hidden_size=8, n_layer=1, n_head=2))
    with pytest.raises(TypeError, match=r"BloomForCausalLM, BloomModel attends by code of its own"):
        use_attention(bloom, attention)
    with pytest.raises(ValueError, match=r"no layer 7; LlamaForCausalLM has \[0, 1, 2\]"):
        use_attention(model, attention, layers=[0, 7])
    with use_attention(model, lambda q, k, v, causal, scale: q[:, :1]), pytest.raises(ValueError, match="must return"):
        model(IDS)
    with use_attention(model, attention):
        with pytest.raises(RuntimeError, match="LlamaAttention is of another model"):
            copy.deepcopy(model)(IDS)
        with pytest.raises(ValueError, match=r"must be bool.*float64"):
            model(IDS, attention_mask=torch.zeros(2, 1, 23, 23).double())
    dropping = tiny(attention_dropout=0.5).train()
    with use_attention(dropping, attention), pytest.raises(ValueError, match=r"dropout=0\.5"):
        dropping(IDS)
    outer, inner = use_attention(model, attention), use_attention(model, attention)
    with pytest.raises(RuntimeError, match="restore it first"):
        outer.restore()
    inner.restore()
    outer.restore()
