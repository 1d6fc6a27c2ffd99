"""The dispatcher, through the ops that use it."""

import subprocess
import sys

import pytest
import torch

from seefar.ops import explain, linear_scan


def test_explain_says_what_runs_and_why_the_faster_cannot():
    lines = explain("selective_scan", torch.ones(1, 2, 3, dtype=torch.bfloat16)).splitlines()
    assert lines == [
        "selective_scan.numba: cannot: needs float32 or float64, got torch.bfloat16",
        "selective_scan.reference: runs",
    ]
    assert explain("linear_scan", torch.ones(1, 2, 3)).splitlines()[0] == "linear_scan.numba: runs"
    assert "sdpa: runs" in explain("attention", *torch.ones(3, 1, 2, 3, 4))


def test_explain_refuses_an_op_it_does_not_know():
    with pytest.raises(ValueError, match=r"unknown op 'softmax'.*attention"):
        explain("softmax", torch.ones(1))


def test_without_numba_the_reason_is_the_line_to_type(monkeypatch):
    monkeypatch.setattr("seefar.ops._cpu.find_spec", lambda name: None)
    x = torch.ones(1, 4, 2)
    with pytest.raises(RuntimeError, match=r"pip install 'seefar\[fast\]'"):
        linear_scan(x, x, backend="numba")
    assert linear_scan(x, x)[0, :, 0].tolist() == [1, 2, 3, 4]
    assert "linear_scan.blocked: runs" in explain("linear_scan", x)


def test_importing_the_ops_imports_no_compiler():
    code = "import sys, seefar.ops; sys.exit(bool({'numba', 'llvmlite', 'transformers', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
