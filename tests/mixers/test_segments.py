"""The recurrence over segments, with each of the memories, around decoders of transformers."""

import copy

import pytest
import torch

from seefar.mixers import LayerMemory, Segments, SlotMemory, TokenMemory

SEGMENT, TOKENS, SLOTS = 5, 2, 3
CARRIES = ["layers", "tokens", "slots"]


def decoder(kind="neox", layers=2):
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        GPTNeoXConfig,
        GPTNeoXForCausalLM,
        LlamaConfig,
        LlamaForCausalLM,
    )

    torch.manual_seed(0)
    size = {"vocab_size": 31, "max_position_embeddings": 16, "bos_token_id": None, "eos_token_id": None}
    wide = {"hidden_size": 12, "num_hidden_layers": layers, "num_attention_heads": 2, "intermediate_size": 20}
    if kind == "neox":
        model = GPTNeoXForCausalLM(GPTNeoXConfig(**size, **wide))
    elif kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**size, **wide, num_key_value_heads=1))
    else:
        model = GPT2LMHeadModel(GPT2Config(**size, n_embd=12, n_layer=layers, n_head=2))
    return model.double().eval()


def awake(memory):
    """Weights that begin at zero drawn like others, so that what was written shows."""
    generator = torch.Generator().manual_seed(1)
    for weight in memory.parameters():
        if not weight.any() and weight.ndim == 2:
            torch.nn.init.normal_(weight, generator=generator)
    return memory


def segments(kind="neox", carry="layers", truncate=None, replay=False):
    model = decoder(kind)
    memory = {
        "layers": lambda: LayerMemory(model, TOKENS, width=4),
        "tokens": lambda: TokenMemory(model, TOKENS),
        "slots": lambda: SlotMemory(model, SLOTS),
    }[carry]()
    return Segments(model, awake(memory), segment=SEGMENT, truncate=truncate, replay=replay)


def ids(n, rows=2, seed=0):
    return torch.randint(31, (rows, n), generator=torch.Generator().manual_seed(seed))


def flat(state):
    return [x for one in state for x in (one if isinstance(one, tuple) else [one])]


@pytest.mark.parametrize("kind", ["neox", "llama", "gpt2"])
def test_at_first_every_segment_comes_out_as_the_model_alone_gives_it(kind):
    model = decoder(kind)
    wrapped = Segments(model, LayerMemory(model, TOKENS, width=4), segment=SEGMENT)
    got, _ = wrapped(ids(13))
    want = torch.cat([model(piece).logits for piece in ids(13).split(SEGMENT, 1)], 1)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", ["neox", "llama", "gpt2"])
def test_layers_read_before_and_write_after_as_the_equations_say(kind):
    wrapped = segments(kind)
    (got, state), memory, model = wrapped(ids(12)), wrapped.memory, wrapped.model
    layers = model.base_model.h if kind == "gpt2" else model.base_model.layers
    states, outs = [None, None], []
    for piece in ids(12).split(SEGMENT, 1):
        x = torch.cat([model.get_input_embeddings()(piece), memory.tokens.expand(2, -1, -1)], 1)
        # the column by hand: each layer is called by the model with an input of our making
        plain = model(inputs_embeds=x, output_hidden_states=True)
        h, fed = plain.hidden_states[0], []
        for i, layer in enumerate(layers):
            h = h + memory.memories[i].read(h, states[i])
            fed.append(h)
            h = _layer_alone(model, layer, x, h)
            states[i] = memory.memories[i].write(h[:, -TOKENS:], states[i])
        norm = getattr(model.base_model, {"neox": "final_layer_norm", "llama": "norm", "gpt2": "ln_f"}[kind])
        outs.append(model.get_output_embeddings()(norm(h))[:, :-TOKENS])
    torch.testing.assert_close(got, torch.cat(outs, 1), rtol=1e-10, atol=1e-10)
    for one, want in zip(flat(state), flat(states), strict=True):
        torch.testing.assert_close(one, want, rtol=1e-10, atol=1e-10)


def _layer_alone(model, layer, x, h):
    """The output of one layer of the model for the input h."""
    seen = []
    handles = [
        layer.register_forward_pre_hook(lambda _, args, kwargs: ((h, *args[1:]), kwargs), with_kwargs=True),
        layer.register_forward_hook(lambda _, args, out: seen.append(out)),
    ]
    model(inputs_embeds=x)
    for handle in handles:
        handle.remove()
    return seen[0]


@pytest.mark.parametrize("carry", CARRIES)
def test_calls_of_any_number_of_segments_are_as_one_call(carry):
    wrapped, text = segments(carry=carry), ids(23)
    weights = [*wrapped.parameters()]
    whole, end = wrapped(text)
    loss = whole.square().sum() + sum(x.square().sum() for x in flat(end))
    want = torch.autograd.grad(loss, weights)
    for cuts in ([5, 18], [10, 5, 8], [5, 5, 5, 5, 3]):
        outs, state = [], None
        for piece in text.split(cuts, 1):
            out, state = wrapped(piece, state)
            outs.append(out)
        pieces = torch.cat(outs, 1)
        torch.testing.assert_close(pieces, whole, rtol=1e-10, atol=1e-10)
        for got, was in zip(flat(state), flat(end), strict=True):
            torch.testing.assert_close(got, was, rtol=1e-10, atol=1e-10)
        loss = pieces.square().sum() + sum(x.square().sum() for x in flat(state))
        for got, was in zip(torch.autograd.grad(loss, weights), want, strict=True):
            torch.testing.assert_close(got, was, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("carry", CARRIES)
def test_a_saved_state_goes_on_bit_for_bit(carry, tmp_path):
    wrapped, text = segments(carry=carry), ids(20)
    with torch.no_grad():
        _, half = wrapped(text[:, :10])
        wrapped.save(tmp_path / "state", half)
        again = wrapped.load(tmp_path / "state")
        assert all(torch.equal(a, b) for a, b in zip(flat(half), flat(again), strict=True))
        assert torch.equal(wrapped(text[:, 10:], half)[0], wrapped(text[:, 10:], again)[0])
    wrapped.save(tmp_path / "empty", None)
    assert wrapped.load(tmp_path / "empty") is None


def test_the_state_of_another_memory_is_refused(tmp_path):
    wrapped, model = segments(), decoder()
    wrapped.save(tmp_path / "state", wrapped(ids(5))[1])
    for memory in (LayerMemory(model, TOKENS, width=8), TokenMemory(model, TOKENS), SlotMemory(model, SLOTS)):
        with pytest.raises(ValueError, match=r"holds the state of LayerMemory\(2 layers, dim=12, width=4"):
            Segments(model, memory, segment=SEGMENT).load(tmp_path / "state")
    (tmp_path / "text").write_text("no tensors")
    with pytest.raises(ValueError, match="no safetensors file"):
        wrapped.load(tmp_path / "text")


@pytest.mark.parametrize("carry", CARRIES)
@pytest.mark.parametrize(("truncate", "reached"), [(None, [0, 1, 2, 3]), (1, [3]), (2, [2, 3]), (9, [0, 1, 2, 3])])
def test_gradients_of_the_last_segment_reach_back_as_far_as_asked(carry, truncate, reached):
    wrapped, met = segments(carry=carry, truncate=truncate), []
    words = wrapped.model.get_input_embeddings()
    handle = words.register_forward_hook(lambda _, args, out: met.append(out))
    logits, _ = wrapped(ids(20))
    handle.remove()
    (grad,) = torch.autograd.grad(logits[:, -1].square().sum(), met[0])
    touched = grad.abs().sum((0, 2)).unflatten(0, (4, SEGMENT)).sum(1)
    assert torch.nonzero(touched).flatten().tolist() == reached


def test_truncation_changes_no_number():
    text = ids(20)
    for full, cut in zip(*(segments(truncate=k)(text) for k in (None, 2)), strict=True):
        for a, b in zip(flat(full), flat(cut), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("carry", CARRIES)
def test_the_past_is_seen_and_its_state_never_grows(carry):
    wrapped, text = segments(carry=carry), ids(60)
    with torch.no_grad():
        other = text.clone()
        other[:, :SEGMENT] = 0
        assert not torch.equal(wrapped(text[:, :10])[0][:, 5:], wrapped(other[:, :10])[0][:, 5:])
        sizes = [sum(x.untyped_storage().nbytes() for x in flat(wrapped(text[:, :n])[1])) for n in (5, 60)]
    assert (
        sizes[0]
        == sizes[1]
        == 8 * {"layers": 2 * 2 * 24 * 13, "tokens": 2 * TOKENS * 12, "slots": 2 * SLOTS * 12}[carry]
    )


@pytest.mark.parametrize("kind", ["neox", "llama"])
@pytest.mark.parametrize("carry", CARRIES)
def test_generating_reads_the_memory_and_never_writes_it(kind, carry):
    wrapped, text = segments(kind, carry), ids(12)
    options = {"max_new_tokens": 3, "do_sample": False, "pad_token_id": 0}
    got = wrapped.generate(text, **options)
    _, state = wrapped(text[:, :10])
    kept = [x.clone() for x in flat(state)]
    assert torch.equal(wrapped.generate(text[:, 10:], state, **options), got)
    assert all(torch.equal(a, b) for a, b in zip(flat(state), kept, strict=True))
    # word by word: the open segment and what was written, with nothing behind it
    written = text[:, 10:]
    for _ in range(3):
        written = torch.cat([written, wrapped(written, state)[0][:, -1:].argmax(-1)], 1)
    assert torch.equal(written[:, 2:], got)


@pytest.mark.parametrize("carry", CARRIES)
def test_the_model_itself_is_left_as_it_was(carry):
    wrapped = segments(carry=carry)
    model = wrapped.model
    before, want = copy.deepcopy(model.state_dict()), model(ids(9)).logits
    wrapped(ids(20))
    wrapped.generate(ids(12), max_new_tokens=1, pad_token_id=0)
    with pytest.raises(ValueError):
        wrapped(ids(5, rows=3), wrapped(ids(5))[1])
    assert torch.equal(model(ids(9)).logits, want)
    assert all(torch.equal(a, b) for a, b in zip(before.values(), model.state_dict().values(), strict=True))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_gradient_checkpointing_changes_no_gradient():
    plain, text = segments(), ids(15)
    want = torch.autograd.grad(plain(text)[0].square().sum(), [*plain.parameters()])
    plain.model.activation_checkpointing_enable({"use_reentrant": False})
    got = torch.autograd.grad(plain.train()(text)[0].square().sum(), [*plain.parameters()])
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("carry", CARRIES)
@pytest.mark.parametrize("truncate", [None, 2])
def test_replay_gives_the_gradient_of_all_segments_dropout_included(carry, truncate):
    text, got = ids(23), []
    for replay in (False, True):
        wrapped = segments("gpt2", carry, truncate, replay).train()  # GPT-2 drops a tenth
        torch.manual_seed(7)
        _, half = wrapped(text[:, :5])
        first, state = wrapped.loss(text[:, 5:15], state=half)
        second, state = wrapped.loss(text[:, 15:], state=state)
        loss = first + second + sum(x.square().sum() for x in flat(state))
        got.append([loss, *torch.autograd.grad(loss, [*wrapped.parameters()], allow_unused=True)])
    for a, b in zip(*got, strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_replay_through_logits_is_the_same_as_without():
    text, got = ids(13), []
    for replay in (False, True):
        wrapped = segments(carry="slots", replay=replay)
        loss = wrapped(text)[0].square().sum()
        got.append(torch.autograd.grad(loss, [*wrapped.parameters()]))
    for a, b in zip(*got, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_loss_is_that_of_the_logits_at_the_tokens_that_count():
    wrapped, text = segments(carry="slots"), ids(13)
    labels = text.masked_fill(torch.rand(text.shape, generator=torch.Generator().manual_seed(3)) < 0.5, -100)
    logits = wrapped(text)[0]
    for counted, given in ((text, None), (labels, labels)):
        want = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), counted[:, 1:].flatten())
        torch.testing.assert_close(wrapped.loss(text, given)[0], want, rtol=1e-12, atol=1e-12)


def test_a_loss_of_nothing_is_refused():
    wrapped, text = segments(carry="slots"), ids(13)
    with pytest.raises(ValueError, match="no token counts in any segment"):
        wrapped.loss(text, torch.full_like(text, -100))
    with pytest.raises(ValueError, match=r"labels must be as ids \(2, 13\), got \(2, 12\)"):
        wrapped.loss(text, text[:, 1:])


@pytest.mark.parametrize("carry", CARRIES)
def test_other_rows_in_the_middle_of_a_stream_are_refused(carry):
    wrapped = segments(carry=carry)
    _, state = wrapped(ids(5))
    with pytest.raises(ValueError, match="the state is of 2 streams, got 3; begin others with state=None"):
        wrapped(ids(5, rows=3), state)
    with pytest.raises(ValueError, match="the state is of 2 streams"):
        wrapped.generate(ids(5, rows=3), state, max_new_tokens=1, pad_token_id=0)


def test_a_table_of_positions_shorter_than_a_segment_with_its_memory_is_refused():
    model = decoder()
    Segments(model, LayerMemory(model, 2), segment=14)
    with pytest.raises(ValueError, match="16 positions, a segment of 15 and the memory's 2 need 17; use segment=14"):
        Segments(model, LayerMemory(model, 2), segment=15)
    with pytest.raises(ValueError, match="the memory's 4 need 17"):
        Segments(model, TokenMemory(model, 2), segment=13)


@pytest.mark.parametrize(("change", "words"), [({"segment": 0}, "segment=0"), ({"truncate": 0}, "truncate=0")])
def test_sizes_below_one_are_refused(change, words):
    model = decoder()
    with pytest.raises(ValueError, match=words):
        Segments(model, LayerMemory(model), **({"segment": 5} | change))
    with pytest.raises(ValueError, match="at least one is needed, got 0"):
        LayerMemory(model, 0)


@pytest.mark.parametrize(
    "bad", [torch.zeros(2, 0, dtype=torch.long), torch.zeros(5, dtype=torch.long), torch.ones(2, 3)]
)
def test_what_is_no_text_is_refused(bad):
    with pytest.raises(ValueError, match=r"token ids \(B, N\)"):
        segments()(bad)


def test_a_model_whose_layers_cannot_be_told_is_refused():
    from transformers import T5Config, T5ForConditionalGeneration

    model = T5ForConditionalGeneration(
        T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=2, num_decoder_layers=2, num_heads=2)
    )
    with pytest.raises(ValueError, match=r"one list of 2 layers, it has .*decoder-only"):
        LayerMemory(model)
