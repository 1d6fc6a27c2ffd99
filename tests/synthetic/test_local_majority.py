import pytest
import torch

from seefar.synthetic.local_majority import local_majority


def test_the_last_bits_decide_and_no_others():
    bits, label = local_majority(300, 20, near=5, seed=1)
    assert bits.shape == (300, 20) and bits.unique().tolist() == [0, 1]
    assert label.tolist() == [int(row.bincount(minlength=2).argmax()) for row in bits[:, -5:]]
    assert 0.4 < label.double().mean() < 0.6
    whole = (2 * bits.sum(1) > 20).long()
    assert (whole != label).any()


def test_seeds_decide():
    assert torch.equal(local_majority(2, 9, seed=3)[0], local_majority(2, 9, seed=3)[0])
    assert not torch.equal(local_majority(9, 9, seed=3)[0], local_majority(9, 9, seed=4)[0])


@pytest.mark.parametrize("given", [{"count": 0}, {"near": 4}, {"near": 11}, {"near": -1}])
def test_says_what_is_wrong(given):
    with pytest.raises(ValueError, match="an odd number of bits that count, at most its length"):
        local_majority(**{"count": 1, "length": 10, "near": 3, "seed": 0} | given)
