"""The loss is that of CLIP, and no matrix of all pairs is ever made."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from seefar.training.contrastive import contrastive


class _Largest(TorchDispatchMode):
    """Entries of the largest tensor that any operation gives."""

    entries = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, tuple | list) else (out,):
            if isinstance(value, Tensor):
                self.entries = max(self.entries, value.numel())
        return out


def _pairs(M: int, D: int = 8) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    a = torch.randn(M, D, generator=generator, dtype=torch.float64)
    b = a + torch.randn(M, D, generator=generator, dtype=torch.float64)
    return a.requires_grad_(), b.requires_grad_()


@pytest.mark.parametrize("M", [1, 7, 300])
def test_loss_and_gradients_are_those_of_clip(M):
    a, b = _pairs(M)
    log_scale = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)
    similar = log_scale.exp() * (b / b.norm(dim=-1, keepdim=True)) @ (a / a.norm(dim=-1, keepdim=True)).T
    theirs = (F.cross_entropy(similar, torch.arange(M)) + F.cross_entropy(similar.T, torch.arange(M))) / 2
    ours = contrastive(a, b, log_scale.exp())
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    for got, want in zip(*(torch.autograd.grad(x, [a, b, log_scale]) for x in (ours, theirs)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_memory_grows_with_the_pairs_and_not_with_their_square():
    a, b = _pairs(2000)
    with _Largest() as largest:
        contrastive(a, b, 10.0).backward()
    assert largest.entries <= 256 * 256


def test_pairs_that_cannot_be_told_apart_cost_the_log_of_their_number():
    same = torch.ones(50, 4, dtype=torch.float64)
    assert contrastive(same, same, 5.0).item() == pytest.approx(torch.tensor(50.0).log().item(), abs=1e-6)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: contrastive(torch.ones(3, 4), torch.ones(4, 4), 1.0), r"one shape.*\(3, 4\) and \(4, 4\)"),
        (lambda: contrastive(torch.ones(0, 4), torch.ones(0, 4), 1.0), "M >= 1"),
    ],
)
def test_wrong_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
