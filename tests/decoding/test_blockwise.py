"""Writing in blocks: the words of greedy decoding from any heads, one call a block, refusals."""

import pytest
import torch
from torch import nn

from seefar.backbones import SequenceModel
from seefar.backbones.rollback import rolled_back
from seefar.decoding.blockwise import (
    CachedReader,
    ProposalHeads,
    StateReader,
    exact,
    proposal_loss,
    top,
    within,
    write,
)
from seefar.mixers import Attention, Mamba, column
from seefar.positions.rope import Rope

V = 12


@pytest.fixture(scope="module")
def llama():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=V, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    return LlamaForCausalLM(config).double().eval()


def _ours(pattern):
    torch.manual_seed(1)
    letters = {"M": lambda: Mamba(16, d_state=4), "A": lambda: Attention(16, 2, rope=Rope(8))}
    return SequenceModel(column(pattern, 16, **letters), 16, V, words=V).double().eval()


class Cycle(nn.Module):
    """Counts up, over and over; its state is how many words it has read. The words are told by their own codes."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(V, V, bias=False)
        with torch.no_grad():
            self.head.weight.copy_(torch.eye(V).roll(1, 0))

    def forward(self, ids, state=None):
        return self.head(torch.eye(V)[ids]), (state or 0) + ids.shape[1]


class Ahead(ProposalHeads):
    """Heads that guess the count-up right, or by so much wrong."""

    def __init__(self, block, wrong=0):
        super().__init__(V, block)
        self.wrong = wrong

    def forward(self, hidden):
        ahead = [hidden.roll(i + self.wrong, -1) for i in range(1, self.block)]
        return torch.stack(ahead, -2) if ahead else super().forward(hidden)


def _greedy(model, prompt, count):
    every = torch.ones_like(prompt)  # generate would take the word 0 for padding
    return model.generate(prompt, attention_mask=every, max_new_tokens=count, do_sample=False)[0, prompt.shape[1] :]


def test_exact_writes_what_generate_writes_whatever_the_heads_guess(llama):
    torch.manual_seed(2)
    for trial in range(12):
        heads = ProposalHeads(16, 1 + trial % 6).double()
        prompt = torch.randint(V, (1, 1 + trial % 9))
        done = write(CachedReader(llama), heads, prompt, 15)
        assert torch.equal(done.ids, _greedy(llama, prompt, 15))
        assert all(1 <= kept <= heads.block for kept in done.blocks)


@pytest.mark.parametrize(("pattern", "crop"), [("(A F)*2", rolled_back), ("(A F)*2", None), ("M A", None)])
def test_exact_writes_what_our_models_write(pattern, crop):
    model, none = _ours(pattern), ProposalHeads(16, 1).double()
    for trial in range(3):
        torch.manual_seed(trial)
        prompt = torch.randint(V, (1, 5))
        ids = prompt
        for _ in range(20):
            ids = torch.cat([ids, model(ids)[0][:, -1:].argmax(-1)], 1)
        heads = ProposalHeads(16, 4).double()
        assert torch.equal(write(StateReader(model, crop=crop), heads, prompt, 20).ids, ids[0, 5:])
        assert write(StateReader(model), none, prompt, 20).calls == 20


def test_the_cache_after_a_refusal_is_a_fresh_one(llama):
    reader, fresh = CachedReader(llama), CachedReader(llama)
    prompt, block = torch.randint(V, (1, 6)), torch.randint(V, (1, 5))
    reader.read(prompt)
    reader.read(block)
    reader.keep(2)
    fresh.read(torch.cat([prompt, block[:, :2]], 1))
    for a, b in zip(reader.cache.layers, fresh.cache.layers, strict=True):
        torch.testing.assert_close(a.keys, b.keys, rtol=1e-10, atol=1e-10)
        torch.testing.assert_close(a.values, b.values, rtol=1e-10, atol=1e-10)


def test_right_heads_fill_every_block_and_wrong_ones_none():
    prompt = torch.tensor([[3]])
    right = write(StateReader(Cycle(), crop=lambda state, words: state - words), Ahead(4), prompt, 16)
    wrong = write(StateReader(Cycle(), crop=lambda state, words: state - words), Ahead(4, wrong=1), prompt, 16)
    assert torch.equal(right.ids, torch.arange(4, 20) % V) and torch.equal(wrong.ids, right.ids)
    assert right.blocks == (4, 4, 4, 4) and right.calls == 5  # the prompt, and one for each block
    assert set(wrong.blocks) == {1} and wrong.calls == 16


def test_a_state_that_cannot_be_cut_costs_a_second_call_only_after_a_refusal():
    prompt = torch.tensor([[3]])
    assert write(StateReader(Cycle()), Ahead(4), prompt, 16).calls == 5
    assert write(StateReader(Cycle()), Ahead(4, wrong=1), prompt, 16).calls == 1 + 2 * 15


def test_looser_rules_accept_more():
    prompt, cut = torch.tensor([[0]]), lambda state, words: state - words
    near = write(StateReader(Cycle(), crop=cut), Ahead(2, wrong=1), prompt, 6, accept=within(1))
    assert near.mean_block > 1 and near.ids.tolist()[:2] == [1, 3]
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]])
    assert exact(logits, torch.tensor([2, 0])).tolist() == [False, True]
    assert top(2)(logits, torch.tensor([2, 1])).tolist() == [True, False]
    assert within(1)(logits, torch.tensor([2, 2])).tolist() == [True, False]


def test_a_least_block_stands_unchecked():
    cut = lambda state, words: state - words  # noqa: E731
    done = write(StateReader(Cycle(), crop=cut), Ahead(3, wrong=2), torch.tensor([[0]]), 9, least=2)
    assert set(done.blocks) == {2, 1} or set(done.blocks) == {2}
    assert done.ids.tolist()[:2] == [1, 4]


def test_the_end_inside_a_block_ends_the_text():
    cut = lambda state, words: state - words  # noqa: E731
    for block in (1, 2, 4):
        done = write(StateReader(Cycle(), crop=cut), Ahead(block), torch.tensor([[3]]), 16, end=6)
        assert done.ids.tolist() == [4, 5, 6]


def test_heads_learn_what_comes_later():
    torch.manual_seed(0)
    heads, model = ProposalHeads(V, 3, hidden=32), Cycle()
    ids = torch.arange(40).remainder(V)[None]
    hidden = torch.eye(V)[ids]
    optimiser = torch.optim.Adam(heads.parameters(), 1e-2)
    for step in range(150):
        loss = proposal_loss(heads, model.head, hidden, ids, 2 + step % 2)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    done = write(StateReader(model, crop=lambda state, words: state - words), heads, torch.tensor([[5]]), 12)
    assert done.blocks == (3, 3, 3, 3)


def test_what_cannot_be_is_refused(llama):
    heads = ProposalHeads(16, 4).double()
    with pytest.raises(ValueError, match="at least the next word, got block=0"):
        ProposalHeads(16, 0)
    with pytest.raises(ValueError, match="one row"):
        write(CachedReader(llama), heads, torch.zeros(2, 3, dtype=torch.long), 4)
    with pytest.raises(ValueError, match="between 1 and the block of 4"):
        write(CachedReader(llama), heads, torch.zeros(1, 3, dtype=torch.long), 4, least=5)
    with pytest.raises(ValueError, match="count must be at least 1"):
        write(CachedReader(llama), heads, torch.zeros(1, 3, dtype=torch.long), 0)
    with pytest.raises(ValueError, match="likeliest word must be allowed, got 0"):
        top(0)
    with pytest.raises(ValueError, match="not negative"):
        within(-1)
    with pytest.raises(ValueError, match="heads 2 to 4, got 1"):
        proposal_loss(heads, nn.Identity(), torch.zeros(1, 9, 16), torch.zeros(1, 9, dtype=torch.long), 1)


def test_a_model_with_a_recurrent_cache_is_refused():
    from transformers import MambaConfig, MambaForCausalLM

    config = MambaConfig(vocab_size=V, hidden_size=8, state_size=4, num_hidden_layers=1)
    reader = CachedReader(MambaForCausalLM(config).eval())
    with pytest.raises(ValueError, match="no cache that can be cut back"):
        write(reader, ProposalHeads(8, 2), torch.zeros(1, 3, dtype=torch.long), 4)
