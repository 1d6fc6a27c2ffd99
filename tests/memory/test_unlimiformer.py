"""A short text gives what the model gives, a long one what dense attention to all kept states does; k are the best."""

from functools import partial

import pytest
import torch
import transformers
from transformers.modeling_outputs import BaseModelOutput

from seefar.hf.windows import states_in_windows
from seefar.memory import Inverted, Unlimiformer, VectorIndex, unlimiformer

BART = {
    "vocab_size": 23,
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "encoder_ffn_dim": 16,
    "decoder_ffn_dim": 16,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 4,
    "max_position_embeddings": 16,
    "init_std": 0.3,
    "forced_eos_token_id": None,
}
T5 = {"vocab_size": 23, "d_model": 16, "d_kv": 5, "d_ff": 16, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 3}


def tiny(name):
    torch.manual_seed(0)
    if name == "T5":
        config = transformers.T5Config(**T5, initializer_factor=2.0, decoder_start_token_id=0)
        return transformers.T5ForConditionalGeneration(config).double().eval()
    model = transformers.BartForConditionalGeneration(transformers.BartConfig(**BART)).double().eval()
    for weight in model.parameters():
        if weight.ndim == 1:
            weight.data.add_(0.3 * torch.randn_like(weight))
    return model


def texts(n, B=2, seed=0):
    return torch.randint(3, 23, (B, n), generator=torch.Generator().manual_seed(seed))


WORDS = texts(5, seed=1)
BOTH = pytest.mark.parametrize("name", ["Bart", "T5"])


def dense(model, ids, window=16, overlap=0.5):
    """What the model's own cross-attention is given: the kept states of all windows."""
    states = [torch.cat(list(states_in_windows(model.get_encoder(), row, window, overlap=overlap))) for row in ids]
    return {"encoder_outputs": BaseModelOutput(last_hidden_state=torch.stack(states))}


@BOTH
@pytest.mark.parametrize("overlap", [0, 0.5, 0.9])
def test_a_text_no_longer_than_a_window_gives_what_the_model_gives(name, overlap):
    model, ids = tiny(name), texts(16)
    reader = Unlimiformer(model, window=16, overlap=overlap)
    torch.testing.assert_close(
        reader(ids, decoder_input_ids=WORDS).logits, model(ids, decoder_input_ids=WORDS).logits, rtol=1e-6, atol=1e-6
    )
    assert torch.equal(reader.generate(ids, max_new_tokens=6), model.generate(ids, max_new_tokens=6))


@BOTH
@pytest.mark.parametrize("overlap", [0, 0.5])
def test_a_long_text_with_k_of_its_length_is_dense_attention_over_all_kept_states(name, overlap):
    model, ids = tiny(name), texts(61)
    reader = Unlimiformer(model, window=16, overlap=overlap, k=61)
    want = dense(model, ids, overlap=overlap)
    got = reader(ids, decoder_input_ids=WORDS).logits
    torch.testing.assert_close(got, model(**want, decoder_input_ids=WORDS).logits, rtol=1e-6, atol=1e-6)


@BOTH
@pytest.mark.parametrize("beams", [1, 3])
def test_words_said_over_a_long_text_are_those_of_dense_attention_beams_and_all(name, beams):
    model, ids, how = tiny(name), texts(61), {"max_new_tokens": 7, "do_sample": False}
    reader = Unlimiformer(model, window=16, k=61)
    got = reader.generate(ids, num_beams=beams, **how)
    assert torch.equal(got, model.generate(**dense(model, ids), num_beams=beams, **how))
    alone = [reader.generate(row[None], num_beams=beams, **how)[0] for row in ids]
    for row, want in zip(got, alone, strict=True):
        assert torch.equal(row[: len(want)], want)


@BOTH
def test_each_head_attends_to_the_k_states_whose_keys_suit_its_query_best(name, monkeypatch):
    model, ids, k, seen = tiny(name), texts(61), 7, {}
    monkeypatch.setattr(unlimiformer, "AT_ONCE", 3 * k * 16)  # in pieces of three queries
    states = dense(model, ids)["encoder_outputs"].last_hidden_state
    parts = [p for p in model.get_decoder().modules() if hasattr(p, "encoder_attn") or hasattr(p, "EncDecAttention")]
    for layer, part in enumerate(parts):
        attention = part.encoder_attn if name == "Bart" else part.EncDecAttention
        query, key = (attention.q_proj, attention.k_proj) if name == "Bart" else (attention.q, attention.k)
        query.register_forward_hook(lambda _, __, q, layer=layer, key=key: seen.update({layer: (q, key(states))}))
    reader = Unlimiformer(model, window=16, k=k)
    asked, search = [], VectorIndex.search
    monkeypatch.setattr(VectorIndex, "search", lambda self, *args: asked.append(search(self, *args)) or asked[-1])
    reader(ids, decoder_input_ids=WORDS)
    heads = 4 if name == "Bart" else 3
    for layer in (0, 1):
        q, keys = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in seen[layer])
        want = (q @ keys.mT).topk(k).indices
        got = torch.stack([found.numbers_Qk.view(heads, 5, k) for found in asked[2 * layer : 2 * layer + 2]])
        assert torch.equal(got, want)


def test_only_what_is_looked_up_matters():
    model, ids = tiny("Bart"), texts(61, B=1)
    reader, few = (Unlimiformer(model, window=16, k=k) for k in (61, 60))
    all_, but_one = (r(ids, decoder_input_ids=WORDS[:1]).logits for r in (reader, few))
    assert not torch.allclose(all_, but_one, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(all_, but_one, rtol=0.5, atol=0.5)


@BOTH
def test_layers_that_do_not_look_up_see_the_first_window(name):
    model, ids = tiny(name), texts(40)
    none = Unlimiformer(model, window=16, layers=[])(ids, decoder_input_ids=WORDS).logits
    torch.testing.assert_close(none, model(ids[:, :16], decoder_input_ids=WORDS).logits, rtol=1e-9, atol=1e-9)
    last = Unlimiformer(model, window=16, layers=[1], k=40)(ids, decoder_input_ids=WORDS).logits
    every = Unlimiformer(model, window=16, k=40)(ids, decoder_input_ids=WORDS).logits
    assert not torch.allclose(last, none) and not torch.allclose(last, every)


@BOTH
def test_padding_is_in_no_index_and_each_text_is_read_as_if_alone(name):
    model, long, short = tiny(name), texts(61, B=1), texts(30, B=1, seed=3)
    pad = model.config.pad_token_id
    ids = torch.cat([long, torch.cat([short, torch.full((1, 31), pad)], 1)])
    mask = (ids != pad).long()
    reader = Unlimiformer(model, window=16, layers=[1], k=9)
    got = reader(ids, mask, decoder_input_ids=WORDS).logits
    assert [len(index) for index in reader.read] == [61, 30]
    for row, text in enumerate((long, short)):
        want = reader(text, decoder_input_ids=WORDS[row : row + 1]).logits
        torch.testing.assert_close(got[row : row + 1], want, rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match=f"token {pad} is padding.*attention_mask"):
        reader(ids, decoder_input_ids=WORDS)


def test_one_index_serves_all_layers_and_heads_and_holds_one_state_a_token():
    model, made = tiny("Bart"), []

    def index(*args, **more):
        made.append(VectorIndex(*args, inverted=Inverted(4, 4), **more))
        return made[-1]

    ids = texts(61)
    got = Unlimiformer(model, window=16, k=9, index=index)(ids, decoder_input_ids=WORDS).logits
    assert len(made) == 2 and all(len(index) == index.built == 61 and index.dim == 16 for index in made)
    assert all(len(index._held) == 61 for index in made)  # room was made once
    torch.testing.assert_close(got, Unlimiformer(model, window=16, k=9)(ids, decoder_input_ids=WORDS).logits)


def test_cross_attention_of_t5_has_no_bias_of_positions():
    model = tiny("T5")
    biased = [name for name, _ in model.named_parameters() if "relative_attention_bias" in name]
    assert biased and all("SelfAttention" in name for name in biased)
    ids = texts(61)
    reader = Unlimiformer(model, window=16, k=61, layers=[0])  # the layer that would hand a bias on to the next
    with_zeros = reader(ids, decoder_input_ids=WORDS).logits
    assert with_zeros.isfinite().all()
    assert torch.equal(reader.generate(ids, max_new_tokens=5), reader.generate(ids, max_new_tokens=5, use_cache=False))


def test_what_cannot_be_is_refused_with_what_to_do():
    model = tiny("Bart")
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    llama = transformers.LlamaForCausalLM(transformers.LlamaConfig(vocab_size=9, **sizes))
    with pytest.raises(ValueError, match="give an encoder-decoder such as BART or T5"):
        Unlimiformer(llama)
    with pytest.raises(ValueError, match=r"k must be at least 1, got window=16, k=0"):
        Unlimiformer(model, k=0)
    with pytest.raises(ValueError, match="text 1 is empty"):
        Unlimiformer(model)(texts(5), torch.tensor([[1] * 5, [0] * 5]), decoder_input_ids=WORDS)
    reader = partial(Unlimiformer(model.train()), texts(40), decoder_input_ids=WORDS)
    with pytest.raises(ValueError, match=r"a model that is trained; call model\.eval\(\)"):
        reader()
