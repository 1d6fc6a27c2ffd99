"""The query resampler, against the Q-Former of transformers."""

import pytest
import torch
from transformers import (
    InstructBlipConfig,
    InstructBlipForConditionalGeneration,
    InstructBlipQFormerConfig,
    InstructBlipQFormerModel,
)

from seefar.compress import QueryResampler, Words, load_instructblip
from seefar.positions import LearnedFrames
from seefar.sequence import VisualSequence
from seefar.testing import check_compressor


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def film(T=1, S=7, C=10, B=2, seed=0):
    x = torch.randn(B, T, 1, S, C, dtype=torch.float64, generator=random(seed))
    return VisualSequence.of_grid(x, torch.arange(T))


def theirs(depth=3, every=2):
    config = InstructBlipQFormerConfig(
        vocab_size=20,
        hidden_size=24,
        num_hidden_layers=depth,
        num_attention_heads=4,
        intermediate_size=96,
        max_position_embeddings=9,
        encoder_hidden_size=10,
        cross_attention_frequency=every,
    )
    model = InstructBlipQFormerModel(config).eval().double()
    for i, weight in enumerate(model.parameters()):
        torch.nn.init.normal_(weight, std=0.3, generator=random(i))
    queries = torch.randn(1, 5, 24, dtype=torch.float64, generator=random(99))
    return model, model.state_dict(prefix="qformer.") | {"query_tokens": queries}


def ours(weights, depth=3, every=2, text=True, **options):
    words = Words(24, 20, 9) if text else None
    part = QueryResampler(10, 24, queries=5, depth=depth, heads=4, cross_every=every, text=words, **options).double()
    load_instructblip(part, weights)
    return part


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("text", [None, "even", "padded"])
def test_with_released_weights_it_is_the_q_former_of_transformers(every, text):
    model, weights = theirs(every=every)
    ids = None if text is None else torch.randint(1, 20, (2, 4), generator=random())
    mask = torch.ones(2, 9, dtype=torch.int64)
    if text == "padded":
        ids[1, 2:], mask[1, 7:] = -1, 0
    seq = film()
    with torch.no_grad():
        want = model(
            input_ids=None if ids is None else ids.clamp(min=0),
            attention_mask=None if ids is None else mask,
            query_embeds=weights["query_tokens"].expand(2, -1, -1),
            encoder_hidden_states=seq.tokens,
        ).last_hidden_state[:, :5]
        got = ours(weights, every=every)(seq, 5, ids).tokens
    assert want.std() > 0.1
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)


def test_by_default_it_takes_every_weight_of_the_q_former_of_a_released_instructblip():
    config = InstructBlipConfig()
    config.vision_config.num_hidden_layers = config.text_config.num_hidden_layers = 1
    with torch.device("meta"):
        weights = InstructBlipForConditionalGeneration(config).state_dict()
        part = QueryResampler(config.vision_config.hidden_size, text=Words(768))
        load_instructblip(part, weights)
    assert len(part.state_dict()) == sum(name.startswith(("qformer.", "query_tokens")) for name in weights)


def test_the_contract_holds():
    torch.manual_seed(0)
    seq = film(T=6, S=4, B=3).map(torch.Tensor.float)
    ragged = seq.take(torch.rand(3, 24, generator=random()) < torch.tensor([[0.9], [0.5], [0.2]]))
    part = QueryResampler(10, 16, queries=5, depth=2, heads=2, text=Words(16, 20, 9))
    text = torch.randint(0, 20, (3, 3), generator=random())
    for given in (seq, ragged):
        check_compressor(torch.no_grad()(part), given, query=text, budgets=(5, 8, 100), conserves_mass=True)


def test_places_are_added_to_the_tokens_of_their_frame():
    _, weights = theirs()
    plain, placed = ours(weights), ours(weights, places=LearnedFrames(10, 4))
    seq = film(T=3)
    assert torch.equal(placed(seq, 5).tokens, plain(seq, 5).tokens), "they begin at zero"
    torch.nn.init.normal_(placed.places.table, generator=random())
    moved = seq.map(lambda x: x + placed.places.table[:3].repeat_interleave(7, 0))
    torch.testing.assert_close(placed(seq, 5).tokens, plain(moved, 5).tokens)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda part, w: part(film(), 4), "makes 5 tokens, above the budget of 4; build it with queries=4"),
        (lambda part, w: part(film(C=9), 5), "width source=10, got 9"),
        (lambda part, w: part(film(), 5, torch.full((2, 3), 20)), "ids below 20"),
        (lambda part, w: part(film(), 5, torch.zeros(2, 10, dtype=torch.int64)), "9 words"),
        (lambda part, w: part(film(), 5, torch.zeros(3, 4, dtype=torch.int64)), "2 rows of tokens need as many texts"),
        (lambda part, w: part(film(), 5, torch.zeros(2, 4)), "int64 ids"),
        (lambda part, w: ours(w, text=False)(film(), 5, torch.zeros(2, 4, dtype=torch.int64)), "without text"),
        (lambda part, w: ours(w, places=LearnedFrames(10, 4))(film(T=5), 5), "beyond a table of 4 frames"),
        (lambda part, w: ours(w, depth=2), "depth=3"),
        (lambda part, w: ours({k: v for k, v in w.items() if "value.bias" not in k}), "lack .*value.bias"),
        (lambda part, w: QueryResampler(10, 24, heads=5), "heads that divide dim"),
    ],
)
def test_wrong_input_is_refused(call, message):
    _, weights = theirs()
    with pytest.raises(ValueError, match=message):
        call(ours(weights), weights)
