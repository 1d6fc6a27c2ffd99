"""k-means agrees with SciPy's, round by round, and no group stays empty."""

import pytest
import torch
from scipy.cluster.vq import kmeans2

from seefar.memory import Inverted
from seefar.memory.inverted import k_means, nearest


def test_equals_scipy_from_the_same_beginning():
    points = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).double()
    begin = k_means(points, 7, rounds=0, seed=3)
    for rounds in (1, 5):
        want, group = kmeans2(points.numpy(), begin.numpy(), iter=rounds, minit="matrix")
        got = k_means(points, 7, rounds=rounds, seed=3)
        torch.testing.assert_close(got, torch.from_numpy(want), rtol=1e-10, atol=1e-10)
    near, far = nearest(points, k_means(points, 7, rounds=4, seed=3), at_once=20)
    assert near.tolist() == group.tolist()
    torch.testing.assert_close(far, torch.cdist(points, k_means(points, 7, rounds=4, seed=3)).min(1).values.square())


def test_no_group_stays_empty_where_vectors_are_alike():
    points = torch.cat([torch.zeros(95, 3), torch.eye(3), -torch.eye(3)[:2]]).double()
    centres = k_means(points, 6, rounds=6, seed=0)
    assert len(torch.unique(nearest(points, centres)[0])) == 6


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match="3 vectors make 1 to 3 groups, got 4"):
        k_means(torch.zeros(3, 2), 4)
    with pytest.raises(ValueError, match="probes=9 lists of 8"):
        Inverted(8, 9)
    with pytest.raises(ValueError, match="must be at least 1"):
        Inverted(8, 0)
    with pytest.raises(ValueError, match=r"strays is a share in \[0, 1\]"):
        Inverted(8, 1, strays=2)
