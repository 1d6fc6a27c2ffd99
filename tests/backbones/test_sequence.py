"""A model of sequences: scores at every token or for all, streaming, positions, refusals."""

import pytest
import torch

from seefar.backbones import SequenceModel
from seefar.mixers import Attention, Mamba, column


def causal(**options):
    torch.manual_seed(0)
    return SequenceModel(column("(M F)*2", 8, M=lambda: Mamba(8, d_state=4)), 8, 11, **options).double()


def test_pieces_give_the_scores_of_the_whole():
    model = causal(words=11, positions=30)
    x = torch.randint(11, (2, 20))
    whole, end = model(x)
    first, state = model(x[:, :13])
    second, last = model(x[:, 13:], state)
    torch.testing.assert_close(torch.cat([first, second], 1), whole)
    assert last[0] == end[0] == 20


def test_pooling_takes_the_mean_or_the_last_before_the_head():
    x = torch.randn(2, 9, 3).double()
    for pool in ("mean", "last"):
        model = causal(channels=3, pool=pool)
        hidden = model.column(model.embed(x))[0]
        hidden = hidden.mean(1) if pool == "mean" else hidden[:, -1]
        scores, state = model(x)
        torch.testing.assert_close(scores, model.head(model.norm(hidden)))
        assert state is None


def test_a_tied_head_is_the_embedding():
    model = causal(words=11, tied=True)
    assert model.head.weight is model.embed.weight and model.head.bias is None


def test_positions_make_order_matter():
    def bag(**options):
        torch.manual_seed(0)
        mixer = column("A", 8, A=lambda: Attention(8, 2, causal=False))
        return SequenceModel(mixer, 8, 5, words=7, pool="mean", **options)

    x = torch.tensor([[1, 2, 3, 4]])
    torch.testing.assert_close(bag()(x)[0], bag()(x.flip(1))[0])
    assert not torch.allclose(bag(positions=4)(x)[0], bag(positions=4)(x.flip(1))[0])


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="words or channels"):
        causal()
    with pytest.raises(ValueError, match="tied head"):
        causal(words=9, tied=True)
    with pytest.raises(ValueError, match="positions go to 4"):
        causal(words=11, positions=4)(torch.zeros(1, 5, dtype=torch.int64))
    with pytest.raises(ValueError, match="it pools"):
        causal(words=11, pool="last")(torch.zeros(1, 5, dtype=torch.int64), (3, None))
    mixer = column("A", 8, A=lambda: Attention(8, 2, causal=False))
    with pytest.raises(ValueError, match="not causal"):
        SequenceModel(mixer, 8, 5, words=7)(torch.zeros(1, 5, dtype=torch.int64), (3, None))
