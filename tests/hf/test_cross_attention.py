"""Looking at all states by one's own function is the decoder's own attention, in every family; its weights stay."""

import pytest
import torch
import transformers

from seefar.hf.cross_attention import use_cross_attention
from seefar.ops.attention import attention

SIZES = {"encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "init_std": 0.3}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 4, "vocab_size": 23, "d_model": 16}
T5 = {"vocab_size": 23, "d_model": 16, "d_kv": 5, "d_ff": 16, "num_layers": 1, "num_decoder_layers": 2, "num_heads": 3}
MODELS = {
    "BartForConditionalGeneration": SIZES | HEADS | {"max_position_embeddings": 64},
    "MBartForConditionalGeneration": SIZES | HEADS | {"max_position_embeddings": 64},
    "PegasusForConditionalGeneration": SIZES | HEADS | {"max_position_embeddings": 64},
    "MarianMTModel": SIZES | HEADS | {"max_position_embeddings": 64, "pad_token_id": 0, "decoder_start_token_id": 0},
    "PLBartForConditionalGeneration": SIZES | HEADS | {"max_position_embeddings": 64},
    "M2M100ForConditionalGeneration": SIZES | HEADS | {"max_position_embeddings": 64},
    "T5ForConditionalGeneration": T5 | {"initializer_factor": 2.0},
    "MT5ForConditionalGeneration": T5 | {"initializer_factor": 2.0},
}


def tiny(name="BartForConditionalGeneration", **more):
    torch.manual_seed(0)
    cls = getattr(transformers, name)
    model = cls(cls.config_class(**MODELS[name] | more)).double().eval()
    for weight in model.parameters():  # biases begin at zero and would hide what becomes of them
        if weight.ndim == 1:
            weight.data.add_(0.3 * torch.randn_like(weight))
    return model


IDS = torch.randint(3, 23, (2, 19), generator=torch.Generator().manual_seed(0))
WORDS = torch.randint(3, 23, (2, 5), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("layers", [None, [1], [0]])
def test_looking_at_all_states_gives_the_logits_and_gradients_of_the_model_itself(name, layers):
    model, asked = tiny(name), []
    given = {"decoder_input_ids": WORDS, "encoder_outputs": model.get_encoder()(input_ids=IDS)}
    h = given["encoder_outputs"].last_hidden_state

    def look(u, *, scale, layer):
        asked.append(layer)
        return attention(u, h[:, None], h[:, None], scale=scale)

    weights = [p for p in model.get_decoder().parameters() if p.requires_grad]

    def run():
        logits = model(**given, use_cache=False).logits
        grads = torch.autograd.grad(logits.square().sum(), weights, allow_unused=True, retain_graph=True)
        return logits, [torch.zeros_like(p) if grad is None else grad for p, grad in zip(weights, grads, strict=True)]

    names, want = list(model.state_dict()), run()
    with use_cross_attention(model, look, layers=layers):
        got = run()
        assert sorted(model.state_dict()) == sorted(names)
    assert asked == [0, 1] if layers is None else asked == layers
    tol = 1e-6 if "T5" in name else 1e-9  # T5 takes its norms in float32
    torch.testing.assert_close(got, want, rtol=tol, atol=tol)


def test_the_models_own_attention_is_back_afterwards_even_after_an_error():
    model = tiny()
    before, modules = model(IDS, decoder_input_ids=WORDS).logits, list(model.modules())
    with pytest.raises(RuntimeError, match="mine"), use_cross_attention(model, lambda u, **_: u):
        assert not torch.allclose(model(IDS, decoder_input_ids=WORDS).logits, before)
        raise RuntimeError("mine")
    assert list(model.modules()) == modules
    assert torch.equal(model(IDS, decoder_input_ids=WORDS).logits, before)


def test_what_cannot_be_is_refused_with_what_to_do():
    model = tiny()
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=9, **sizes))
    with pytest.raises(ValueError, match="LlamaForCausalLM has no attention from a decoder to an encoder; give an"):
        use_cross_attention(llama, lambda u, **_: u)
    with pytest.raises(ValueError, match=r"there is no layer 7; the decoder has \[0, 1\]"):
        use_cross_attention(model, lambda u, **_: u, layers=[0, 7])
    with use_cross_attention(model, lambda u, **_: u):
        with pytest.raises(ValueError, match="replaced already; known are BartAttention"):
            use_cross_attention(model, lambda u, **_: u)
        model.train()
        with pytest.raises(ValueError, match=r"call model\.eval\(\)"):
            model(IDS, decoder_input_ids=WORDS)
    model.eval()
    with use_cross_attention(model, lambda u, **_: u[:, :1]), pytest.raises(ValueError, match=r"\(2, 4, 5, 16\), got"):
        model(IDS, decoder_input_ids=WORDS)
