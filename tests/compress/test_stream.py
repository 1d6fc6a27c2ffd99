"""A resampler that reads a video frame by frame, against the published loop written out on layers of transformers."""

from itertools import pairwise

import pytest
import torch
from transformers import InstructBlipQFormerConfig, InstructBlipQFormerModel

from seefar.compress import QueryResampler, Stream, Words, load_instructblip
from seefar.memory import Bank, Fifo
from seefar.positions import LearnedFrames
from seefar.sequence import VisualSequence

Q, S, C, D = 3, 4, 6, 8


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def film(T=9, B=2, seed=0, start=0.0):
    x = torch.randn(B, T, 1, S, C, dtype=torch.float64, generator=random(seed))
    return VisualSequence.of_grid(x, start + torch.arange(T) / 2)


def theirs(depth=3):
    config = InstructBlipQFormerConfig(
        vocab_size=20,
        hidden_size=D,
        num_hidden_layers=depth,
        num_attention_heads=2,
        intermediate_size=4 * D,
        max_position_embeddings=9,
        encoder_hidden_size=C,
    )
    model = InstructBlipQFormerModel(config).eval().double()
    for i, weight in enumerate(model.parameters()):
        torch.nn.init.normal_(weight, std=0.5, generator=random(i))
    return model, torch.randn(1, Q, D, dtype=torch.float64, generator=random(99))


def ours(model, queries, **options):
    depth = len(model.encoder.layer)
    part = QueryResampler(C, D, queries=Q, depth=depth, heads=2, text=Words(D, 20, 9), **options).double()
    load_instructblip(part, model.state_dict(prefix="qformer.") | {"query_tokens": queries})
    return part


def stream(part, entries=4, words=0, reduce=None):
    banks = [Bank(entries * (Q + words), Q + words, reduce) for _ in part.layers]
    return Stream(part, Bank(entries * S, S, reduce), banks)


class PlainBank:
    """Lists of (token, frames) for each row and slot; all pairs are compared anew for each frame."""

    def __init__(self, entries):
        self.entries, self.held = entries, None

    def add(self, x):
        B, N, _ = x.shape
        self.held = self.held or [[[] for _ in range(N)] for _ in range(B)]
        for b in range(B):
            for n, slot in enumerate(self.held[b]):
                slot.append((x[b, n], 1))
                if len(slot) > self.entries:
                    near = [float(torch.cosine_similarity(p[0], q[0], dim=0)) for p, q in pairwise(slot)]
                    i = near.index(max(near))
                    (p, m), (q, n_q) = slot[i : i + 2]
                    slot[i : i + 2] = [((m * p + n_q * q) / (m + n_q), m + n_q)]

    def tokens(self):
        """(B, entries * N, D), the frames one after another as in the published code."""
        if self.held is None:
            return None
        return torch.stack([torch.stack([s[i][0] for i in range(len(row[0])) for s in row]) for row in self.held])


def published(model, queries, seq, entries, ids=None, shown=None):
    """The loop of MA-LMM: each self-attention with a bank of its inputs, one bank for the frames."""
    B = len(seq.tokens)
    visual, banks = PlainBank(entries), [PlainBank(entries) for _ in model.encoder.layer]
    for frame in seq.tokens.split(S, 1):
        old = visual.tokens()
        seen = frame if old is None else torch.cat([old, frame], 1)
        x = model.embeddings(input_ids=ids, query_embeds=queries.expand(B, -1, -1))
        for layer, bank in zip(model.encoder.layer, banks, strict=True):
            inner, old = layer.attention.attention, bank.tokens()
            beside = x if old is None else torch.cat([old, x], 1)
            heads = [
                p(y).unflatten(-1, (2, -1)).transpose(1, 2)
                for p, y in ((inner.query, x), (inner.key, beside), (inner.value, beside))
            ]
            mask = None
            if shown is not None:
                mask = shown.repeat(1, beside.shape[1] // x.shape[1])[:, None, None]
            y = torch.nn.functional.scaled_dot_product_attention(*heads, attn_mask=mask).transpose(1, 2).flatten(2)
            bank.add(x)
            y = layer.attention.output(y, x)
            asked, text = y[:, :Q], y[:, Q:]
            if layer.has_cross_attention:
                asked = layer.crossattention(asked, encoder_hidden_states=seen)
            x = torch.cat([layer.feed_forward_chunk_query(asked), layer.feed_forward_chunk(text)], 1)
        visual.add(frame)
    return x[:, :Q], visual


@pytest.mark.parametrize("text", [None, "even", "padded"])
@pytest.mark.parametrize("entries", [1, 3, 9])
@torch.no_grad()
def test_it_is_the_published_loop_over_layers_of_transformers(entries, text):
    model, queries = theirs()
    seq, ids, shown, words = film(), None, None, 0
    if text is not None:
        ids, words = torch.randint(1, 20, (2, 3), generator=random(1)), 3
    if text == "padded":
        ids[1, 1:] = -1
        shown = torch.cat([torch.ones(2, Q, dtype=torch.bool), ids >= 0], 1)
    reader = stream(ours(model, queries), entries, words)
    got = reader.run(seq, ids)
    want, visual = published(model, queries, seq, entries, None if ids is None else ids.clamp(min=0), shown)
    close = {"rtol": 1e-6, "atol": 1e-7}  # masses, and so the shares of a mean, are float32 whatever the tokens are
    torch.testing.assert_close(got.tokens, want, **close)
    held = reader.visual.read(1000)
    for b in range(2):
        for s in range(S):
            mine = held.box[b, :, 1] == s / S
            torch.testing.assert_close(held.tokens[b, mine], torch.stack([x for x, _ in visual.held[b][s]]), **close)
            assert held.mass[b, mine].tolist() == [n for _, n in visual.held[b][s]]


@torch.no_grad()
def test_one_frame_gives_what_instructblip_gives():
    model, queries = theirs()
    seq, ids = film(T=1), torch.randint(1, 20, (2, 3), generator=random(1))
    want = model(input_ids=ids, query_embeds=queries.expand(2, -1, -1), encoder_hidden_states=seq.tokens)
    got = stream(ours(model, queries), words=3).step(seq, ids).tokens
    torch.testing.assert_close(got, want.last_hidden_state[:, :Q], rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_up_to_its_capacity_every_frame_is_held_and_read_as_if_at_once():
    part, seq = ours(*theirs(depth=1)), film(T=4)
    reader = stream(part, entries=4)
    got = reader.run(seq)
    held = reader.visual.read(1000)
    assert torch.equal(held.tokens, seq.tokens) and torch.equal(held.span, seq.span)
    torch.testing.assert_close(got.tokens, part(seq, Q).tokens, rtol=1e-10, atol=1e-10)


@torch.no_grad()
def test_every_slot_holds_all_frames_in_their_order():
    reader = stream(ours(*theirs()), entries=3)
    for t, frame in enumerate(film(T=12).tokens.split(S, 1)):
        out = reader.step(VisualSequence.of_grid(frame[:, None, None], torch.tensor([t])))
        assert out.span.tolist() == [[[0.0, t]] * Q] * 2 and out.mass.sum(1).tolist() == pytest.approx([4 * t + 4] * 2)
        for store in reader.stores:
            held = store.read(1000)
            for b in range(2):
                slots = (held.box[b, :, 1] * store.slots).round()
                for s in range(store.slots):
                    mine = slots == s
                    assert held.mass[b, mine].sum() == t + 1
                    ends = held.span[b, mine]
                    assert (ends[1:, 0] == ends[:-1, 1] + 1).all() and ends[0, 0] == 0 and ends[-1, 1] == t


def test_slots_join_by_themselves():
    x = torch.zeros(1, 3, 1, S, C, dtype=torch.float64)
    x[0, 0, 0, :, 0] = x[0, 2, 0, :, 1] = 1
    x[0, 1, 0, :2, 0] = x[0, 1, 0, 2:, 1] = 1  # two slots are like the frame before, two like the one after
    reader = stream(ours(*theirs()), entries=2)
    reader.run(VisualSequence.of_grid(x, torch.arange(3)))
    held = reader.visual.read(1000)
    first = held.span[0, :, 0] == 0
    assert held.span[0, first, 1].tolist() == [1, 1, 0, 0] and held.mass[0, first].tolist() == [2, 2, 1, 1]


def test_no_gradient_is_lost_by_keeping_that_of_the_last_step_alone():
    part, seq = ours(*theirs(), places=LearnedFrames(C, 20)), film()
    whole, steps = stream(part), stream(part)
    frames = steps._frames(seq)
    outs = [steps.step(frame).tokens for frame in frames]
    weights = [p for p in part.parameters() if p.requires_grad]
    got = torch.autograd.grad(whole.run(seq).tokens.square().sum(), weights, allow_unused=True)
    want = torch.autograd.grad(outs[-1].square().sum(), weights, allow_unused=True)
    for a, b in zip(got, want, strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))


@torch.no_grad()
def test_the_queries_of_earlier_frames_matter():
    part, seq = ours(*theirs()), film()
    tokens_alone = Stream(part, Bank(4 * S, S)).run(seq).tokens
    assert (stream(part).run(seq).tokens - tokens_alone).abs().max() > 0.01


@torch.no_grad()
def test_after_a_reset_another_video_is_read_as_if_it_were_the_first():
    part = ours(*theirs())
    reader, fresh = stream(part, reduce=Fifo()), stream(part, reduce=Fifo())
    reader.run(film())
    reader.reset()
    assert torch.equal(reader.run(film(seed=1)).tokens, fresh.run(film(seed=1)).tokens)


def used(reader):
    reader.run(film(T=2))
    return reader


def another(seq):
    return VisualSequence(**{**seq.__dict__, "segment": seq.segment + 1})


def ragged():
    seq = film(T=1)
    keep = torch.ones(2, S, dtype=torch.bool)
    keep[1, -1] = False
    return seq.take(keep)


TEXT = torch.zeros(2, 3, dtype=torch.int64)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda part: used(stream(part)).run(film(seed=1)), r"backwards.*reset\(\)"),
        (lambda part: used(stream(part)).run(another(film(start=9))), r"another film.*reset\(\)"),
        (lambda part: used(stream(part)).run(film(B=1, start=9)), r"holds 2 videos, got 1; call reset\(\)"),
        (lambda part: Stream(part, used(stream(part)).visual), r"another stream; call its reset\(\)"),
        (lambda part: stream(part).run(ragged()), "unequal length"),
        (lambda part: stream(part).step(film()), r"slots=4 tokens, got 36; or call run\(\)"),
        (lambda part: stream(part).run(film(T=0)), "at least one; got 0"),
        (lambda part: stream(part).run(film(), TEXT), r"6 tokens, the query stores have slots \[3\]"),
        (lambda part: Stream(part, Bank(S, S), [Bank(Q, Q)]), "3 layers need as many query stores, got 1"),
        (lambda part: Stream(part, Bank(S, S), [Bank(Q, Q)] * 3), "given twice"),
    ],
)
@torch.no_grad()
def test_wrong_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(ours(*theirs()))


@torch.no_grad()
def test_a_refused_step_changes_nothing():
    reader = used(stream(ours(*theirs()), entries=2))
    before = [store.read(1000).tokens for store in reader.stores]
    with pytest.raises(ValueError, match="backwards"):
        reader.step(film(T=1))
    assert all(torch.equal(store.read(1000).tokens, was) for store, was in zip(reader.stores, before, strict=True))


@torch.no_grad()
def test_the_text_must_not_change_within_a_video_nor_a_store_be_emptied_alone():
    reader = stream(ours(*theirs()), words=3)
    reader.run(film(), TEXT)
    with pytest.raises(ValueError, match="another text"):
        reader.run(film(start=9), TEXT + 1)
    reader.visual.reset()
    with pytest.raises(ValueError, match="of the stream, not of a store"):
        reader.run(film(start=9), TEXT)


@torch.no_grad()
def test_a_video_longer_than_the_places_is_refused_or_stretched_over():
    model, queries = theirs()
    with pytest.raises(ValueError, match="frame 4 lies beyond a table of 4 frames"):
        stream(ours(model, queries, places=LearnedFrames(C, 4))).run(film())
    places = LearnedFrames(C, 4, stretch=True)
    part = ours(model, queries, places=places)
    torch.nn.init.normal_(places.table, generator=random())
    seq = film()
    moved = seq.map(lambda x: x + places(0, 9, 9).repeat_interleave(S, 0))
    got = stream(part).run(seq, total=9).tokens
    torch.testing.assert_close(got, stream(ours(model, queries)).run(moved).tokens)
