"""The plain selective state space: it streams, obeys its equation, and takes eigenvalues of any sign."""

import pytest
import torch
from torch.nn.functional import softplus

from seefar.mixers.plain_selective import PlainSelective
from seefar.testing import check_streaming


def drawn(dim=3, **options):
    torch.manual_seed(0)
    mixer = PlainSelective(dim, **options).double()
    torch.nn.init.normal_(mixer.q)
    return mixer


@pytest.mark.parametrize("abscissa", [-0.5, 0.0, 0.3])
def test_streams_on_either_side_of_stability(abscissa):
    check_streaming(drawn(abscissa=abscissa), torch.randn(2, 17, 3))


def test_obeys_its_equation_token_by_token():
    mixer, x = drawn(abscissa=0.2, states=2), torch.randn(1, 6, 3).double()
    h = torch.zeros(3, 2).double()
    for t, u in enumerate(x[0]):
        dt = softplus(mixer.p + mixer.q @ u)
        h = torch.exp(dt * mixer.A) * h + dt * u[:, None] * (mixer.B @ u)
        torch.testing.assert_close(mixer(x)[0][0, t], h @ (mixer.C @ u), rtol=1e-10, atol=1e-12)


def test_starts_with_the_step_and_abscissa_asked_for():
    mixer = PlainSelective(3, abscissa=-0.25, step=0.7)
    assert mixer.abscissa == -0.25
    torch.testing.assert_close(mixer.steps(torch.zeros(1, 2, 3)), torch.full((1, 2), 0.7))


def test_a_step_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="step=0"):
        PlainSelective(3, step=0)
    with pytest.raises(ValueError, match="states=0"):
        PlainSelective(3, states=0)
