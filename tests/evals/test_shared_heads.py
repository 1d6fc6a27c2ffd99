import torch

from seefar.distributed import on_ranks
from seefar.evals.shared_heads import agreement, plain_attention, shares, tiles_of
from seefar.ops.attention import attention


def test_tiles_agree_with_one_process_and_a_tile_alone_does_not():
    for each in on_ranks(2, agreement, 0, where="threads"):
        assert min(each["tiles of all"].values()) > 12
        assert max(each["own tile alone"].values()) < 2


def test_parts_are_as_even_as_can_be():
    assert [tiles_of(world) for world in (1, 2, 3, 4, 6, 12)] == [(1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 4)]


def test_shares_are_equal_where_parts_are_and_sum_to_one_where_they_are_not():
    assert shares(2, 2) == ([0.25] * 4, [0.25] * 4)
    for share in shares(3, 1):
        assert share == [0.5, 0.25, 0.25]


def test_plain_attention_is_attention():
    q, k, v = torch.randn(3, 1, 2, 9, 4).double().unbind()
    torch.testing.assert_close(plain_attention(q, k, v), attention(q, k, v, backend="reference"))
