import pytest
import torch

from seefar.analysis.mixing_examples import EXAMPLES
from seefar.analysis.mixing_table import mixing_table

N = 24


@pytest.fixture(scope="module")
def rows():
    torch.manual_seed(0)
    x = torch.randn(1, N, 8).double()
    return mixing_table({name: example.make(8, N).double() for name, example in EXAMPLES.items()}, x)


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_of_its_class_and_its_matrix_is_what_it_does(rows, name):
    row = rows[name]
    assert EXAMPLES[name].fits(row, N), row
    assert row.kind == "jacobian" or row.error < 1e-10


def test_classes_are_told_apart(rows):
    fitting = {name: [other for other in rows if EXAMPLES[name].fits(rows[other], N)] for name in EXAMPLES}
    assert fitting["GatedRecurrence"] == ["GatedRecurrence"]
    assert fitting["Attention"] == ["Attention"] and fitting["NormalizedLinear"] == ["NormalizedLinear"]
    assert fitting["SparseAttention"] == ["SparseAttention"] and fitting["Fourier"] == ["Fourier"]
    assert "Mamba" not in fitting["EMA"] and "Attention" not in fitting["Mamba"]
