"""What is counted is what is there, and the law is that of the layer."""

import pytest
import torch
from torch import nn

from seefar.evals.split_memory import Law, Layer, Machine, fit_law, held, kept_bytes
from seefar.ops.attention import attention


def test_kept_bytes_count_each_memory_once_and_leave_out_what_is_named():
    layer, x = nn.Linear(8, 8), torch.randn(4, 8, requires_grad=True)
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    assert kept_bytes(lambda: layer(x) * layer(x), own) == 4 * (4 * 8 + 2 * 4 * 8)
    assert kept_bytes(lambda: layer(x), own) == 4 * 4 * 8


def test_a_rank_keeps_half_of_what_one_keeps_and_of_the_heads_alone_less_is_saved():
    whole, half, heads = (held(*how, 32, 24, 2) for how in (("tokens", 1), ("tokens", 2), ("heads", 2)))
    assert half * 2 == whole and half < heads < whole
    scores = 2 * 32 * 32 * 4
    assert held("tokens", 2, 32, 24, 2) - scores / 2 == pytest.approx((whole - scores) / 2)


def test_the_law_is_found_again_and_solved():
    law = Law(3.0, 20.0, 4.0, 0.0)
    found = fit_law({(p, n): int(law(p, n, 16, 2)) for p in (1, 2, 4) for n in (8, 16, 32)}, 16, 2)
    assert (found.whole, found.shared, found.scores) == pytest.approx((3.0, 20.0, 4.0)) and found.error < 1e-9
    machine = Machine(bytes=1e6, layers=2, dim=16, heads=4, words=10)

    def needs(length, rows, ranks, ways):
        return machine.weights(ways) + 2 * rows * law(ranks, length, 16, 4)

    for split, ranks, ways, shared in (("tokens", 8, 1, 8), ("heads", 8, 4, 4), ("heads", 3, 2, 2)):
        n = machine.longest(split, ranks, law, 3)
        assert needs(n, 3, shared, ways) <= 1e6 < needs(n + 1, 3, shared, ways)
        rows = machine.largest(split, ranks, law, 10)
        assert needs(10, rows, shared, ways) <= 1e6 < needs(10, rows + 1, shared, ways)
    both = {"tokens": law, "heads": law}
    n, m = (machine.longest(split, 8, law, 3) for split in both)
    assert machine.times_longer(both, 8, 3) == n / m > 1
    assert machine.weights(1) == 16 * (2 * 12 * 16 * 16 + 10 * 16)


def test_the_layer_is_that_of_pytorch():
    torch.manual_seed(0)
    layer = Layer(12, 3, lambda q, k, v: attention(q, k, v)).double()
    other = nn.TransformerEncoderLayer(12, 3, 48, 0.0, "gelu", batch_first=True).double()
    pairs = {"self_attn.in_proj": "qkv", "self_attn.out_proj": "out", "linear1": "mlp.0", "linear2": "mlp.2"}
    pairs |= {"norm1": "norm", "norm2": "norm_mlp"}
    state = layer.state_dict()
    joint = {"self_attn.in_proj": "_"}
    names = {theirs: ours for theirs, ours in pairs.items()}
    other.load_state_dict(
        {f"{t}{joint.get(t, '.')}{kind}": state[f"{o}.{kind}"] for t, o in names.items() for kind in ("weight", "bias")}
    )
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(layer(x), other(x))


def test_heads_that_cannot_be_shared_are_refused():
    with pytest.raises(ValueError, match="5 ranks cannot share 12 heads"):
        Layer(12, 12, attention, 5)
    with pytest.raises(ValueError, match="three terms need three measurements, got 1"):
        fit_law({(1, 1): 1}, 1, 1)
