"""HiP is exact while everything fits, looks back only, keeps what it found while it serves, and runs in a model."""

import pytest
import torch
import transformers
from torch.nn.functional import scaled_dot_product_attention

from seefar.hf import HiP, hip, use_attention
from seefar.ops.linear_scan import linear_scan

SIZES = {"keep": 16, "block": (4, 2), "window": 8, "sinks": 3}


def inputs(N, M=None, H=4, Hkv=2, d=8, B=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = (B, H, N, d), (B, Hkv, M or N, d), (B, Hkv, M or N, d)
    return [torch.randn(shape, generator=generator).double() for shape in shapes]


@pytest.fixture
def searches(monkeypatch):
    """How many queries each search was for."""
    sizes = []

    def search(q, *args, **more):
        sizes.append(q.shape[2])
        return tree(q, *args, **more)

    tree = hip.tree_topk
    monkeypatch.setattr(hip, "tree_topk", search)
    return sizes


@pytest.mark.parametrize(("N", "M"), [(27, 27), (1, 27), (5, 20)])
def test_equals_scaled_dot_product_attention_while_everything_fits(N, M, searches):
    q, k, v = inputs(N, M)
    allowed = torch.ones(N, M, dtype=torch.bool).tril(M - N)
    want = scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=True)
    torch.testing.assert_close(HiP(**SIZES)(q, k, v), want, rtol=1e-12, atol=1e-12)
    assert searches == []


@pytest.mark.parametrize(("N", "M"), [(90, 90), (33, 90), (3, 90), (1, 91)])
def test_is_attention_under_its_mask_with_all_gradients(N, M):
    given = [x.requires_grad_() for x in inputs(N, M)]
    attend = HiP(**SIZES)
    mask = attend.mask(*given[:2]).dense()
    want = scaled_dot_product_attention(*given, attn_mask=mask, enable_gqa=True)
    got = attend(*given)
    torch.testing.assert_close(got, want, rtol=1e-11, atol=1e-11)
    grads = [torch.autograd.grad(o.square().sum(), given) for o in (got, want)]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)
    with torch.no_grad():
        attend.forget()
        torch.testing.assert_close(attend(*given), want.detach(), rtol=1e-11, atol=1e-11)


def test_each_query_sees_sinks_window_and_as_many_blocks_as_are_kept_and_none_after_itself():
    q, k, _ = inputs(90)
    mask = HiP(**SIZES).mask(q, k).dense()
    assert not mask.triu(1).any() and mask[:, :, :, 0].all() and mask.diagonal(dim1=2, dim2=3).all()
    for i in range(90):
        first = i // 4 * 4  # of its block of queries
        assert mask[:, :, i, : min(i + 1, 3)].all() and mask[:, :, i, max(0, first - 7) : i + 1].all()
        between = mask[:, :, i, 4 : max(4, (first - 7) // 2 * 2)]
        assert (between.sum(-1) == min(16, between.shape[-1])).all()


def test_queries_of_one_block_search_together_and_heads_apart():
    q, k, _ = inputs(90)
    mask = HiP(**SIZES).mask(q, k).dense()
    far = mask[:, :, 80:84, :72]
    assert (far == far[:, :, :1]).all() and not torch.equal(far[:, 0], far[:, 1])


def test_one_search_serves_the_tokens_after_it_and_what_came_between_is_seen(searches):
    attend, (q, k, v) = HiP(**SIZES, refresh=4), inputs(12, 100)
    last = []
    for M in range(89, 101):
        attend(q[:, :, M - 89 : M - 88], k[:, :, :M], v[:, :, :M])
        last.append(attend._blocks(q[:, :, M - 89 : M - 88], k[:, :, :M], 0))
    assert searches == [1, 1, 1]
    for found, M in zip(last, range(89, 101), strict=True):
        assert found[0, 0, 0].max() == (M - 1) // 2
        keys = {2 * b + i for b in found[0, 0, 0].tolist() for i in (0, 1)}
        assert keys >= set(range(M - 8, M))  # the window, wherever the search was
    assert torch.equal(last[1][..., :8], last[3][..., :8])


def test_several_tokens_at_once_neither_drop_what_was_found_nor_search_anew(searches):
    attend, (q, k, v) = HiP(**SIZES, refresh=16), inputs(20, 100)

    def step(start, stop):
        attend(q[:, :, start - 80 : stop - 80], k[:, :, :stop], v[:, :, :stop])
        return len(searches)

    assert step(80, 81) == 1
    assert [step(81, 84), step(84, 85), step(83, 86), step(86, 92)] == [1, 1, 1, 1]  # drafts, one of them taken back
    assert step(92, 97) == 2  # 17 tokens after the search
    assert [step(97, 98), step(98, 99)] == [2, 2]  # what a short chunk found serves single tokens


def test_a_prompt_searches_for_itself_and_its_first_word_anew(searches):
    attend, (q, k, v) = HiP(**SIZES, refresh=8), inputs(100)
    attend(q[:, :, :98], k[:, :, :98], v[:, :, :98])
    attend(q[:, :, 98:99], k[:, :, :99], v[:, :, :99])
    attend(q[:, :, 99:], k, v)
    assert searches == [98, 1] and attend._found[0].place == 98


def test_a_long_chunk_leaves_what_is_stored_as_it_is(searches):
    attend, (q, k, v) = HiP(**SIZES, refresh=8), inputs(30, 100)
    attend(q[:, :, :1], k[:, :, :71], v[:, :, :71])
    stored = attend._found[0]
    attend(q[:, :, 1:11], k[:, :, :81], v[:, :, :81])
    assert attend._found[0] is stored and searches == [1, 10]
    attend(q[:, :, 1:2], k[:, :, :72], v[:, :, :72])  # the chunk taken back
    assert attend._found[0] is stored and searches == [1, 10]


def test_texts_that_take_turns_and_layers_never_serve_each_other(searches):
    attend, texts = HiP(**SIZES, refresh=50), [inputs(10, 100, seed=seed) for seed in (1, 2)]
    alone = [HiP(**SIZES, refresh=1)(q[:, :, :1], k[:, :, :91], v[:, :, :91]) for q, k, v in texts]
    for _ in range(2):
        for (q, k, v), want in zip(texts, alone, strict=True):
            assert torch.equal(attend(q[:, :, :1], k[:, :, :91], v[:, :, :91]), want)
    assert len(searches) == 2 + 4
    q, k, v = texts[1]
    attend(q[:, :, :1], k[:, :, :91], v[:, :, :91], layer=1)
    assert len(searches) == 7
    attend(q[:, :, 1:2], k[:, :, :92], v[:, :, :92])
    assert len(searches) == 7
    attend(q[:, :, :1], k[:, :, :90], v[:, :, :90])  # a text cut back to before the search
    attend.forget()
    attend(q[:, :, 1:2], k[:, :, :92], v[:, :, :92])
    assert len(searches) == 9


def test_holds_the_mass_of_the_best_keys_where_neighbours_are_alike():
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(8, 4096, 64, generator=generator)
    q, k = linear_scan(torch.full_like(noise, 0.98), 0.2 * noise).view(2, 1, 4, 4096, 64)
    q = 3 * q[:, :, -32:]
    weights = (q @ k.mT / 8).masked_fill(~torch.ones(32, 4096).tril(4064).bool(), -torch.inf).softmax(-1)
    held = lambda mask: float(weights.masked_fill(~mask, 0).sum(-1).mean())  # noqa: E731
    share = held(HiP(keep=512, window=32).mask(q, k).dense())
    blocks = weights.view(1, 4, 32, 2048, 2).sum((2, 4)).topk(256 + 18).indices
    oracle = held(torch.zeros(1, 4, 2048).scatter(2, blocks, 1.0).bool().repeat_interleave(2, 2)[:, :, None])
    window = held(HiP(keep=2, window=512 + 32).mask(q, k).dense())
    assert share >= 0.97 * oracle and window <= 0.5 * share, (share, oracle, window)


def test_runs_in_a_model_and_words_come_out_the_same_while_everything_fits():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=31, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, pad_token_id=None, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model, ids = transformers.LlamaForCausalLM(config).eval(), torch.randint(31, (1, 90))
    words = model.generate(ids, max_new_tokens=6, do_sample=False)
    with use_attention(model, HiP(keep=128, sinks=0)) as attached:
        assert torch.equal(model.generate(ids, max_new_tokens=6, do_sample=False), words)
    assert attached.asked == [0, 1]
    attend = HiP(**SIZES)
    with use_attention(model, attend, layers=[1]):
        assert model.generate(ids, max_new_tokens=6, do_sample=False).shape == words.shape
        padded = torch.ones_like(ids).index_fill(1, torch.tensor([0]), 0)
        with pytest.raises(ValueError, match="without padding"):
            model(ids, attention_mask=padded)
    assert list(attend._found) == [1]


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="multiple of a block's 3 keys, got 16"):
        HiP(keep=16, block=(4, 3))
    with pytest.raises(ValueError, match=r"at least 1, got keep=512, block=\(32, 2\), window=0"):
        HiP(window=0)
    with pytest.raises(ValueError, match=r"looks back only.*causal=False"):
        HiP()(*inputs(5), causal=False)
    with pytest.raises(ValueError, match="got causal=True, 5 and 4"):
        HiP()(*inputs(5, 4))
