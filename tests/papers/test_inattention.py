"""InAttention: its file keeps its shape, what it builds keeps one vector a token, and both models have one size."""

import torch

from seefar.evals.language import read, state_bytes
from seefar.papers import inattention
from seefar.papers._card import Scale
from seefar.testing import check_paper


def _small(**changes):
    torch.manual_seed(0)
    return inattention.build(8, 3, 2, **({"words": 11, "kv_heads": 1} | changes)).double()


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(inattention, Scale("smoke", (0,)))


def test_a_prompt_in_chunks_and_words_one_by_one_give_the_same_logits():
    model, ids = _small(), torch.randint(11, (2, 23))
    with torch.inference_mode():
        whole = model(ids)[0]
        for chunk in (1, 9):
            torch.testing.assert_close(read(model, ids, chunk=chunk), whole, rtol=1e-9, atol=1e-9)


def test_its_cache_has_one_state_of_bytes_for_each_token_and_nothing_else():
    model = _small().float()
    with torch.inference_mode():
        for n in (1, 50, 700):
            assert state_bytes(model(torch.zeros(1, n, dtype=torch.int64))[1]) == n * 8 * 4


def test_both_models_of_the_claim_have_as_many_weights():
    ours = inattention.build(8, 3, 2, words=inattention.WORDS, ratio=3, tied=False)
    theirs = inattention._plain(8, 3)
    assert sum(w.numel() for w in ours.parameters()) == sum(w.numel() for w in theirs.parameters())


def test_its_defaults_have_the_weights_of_smollm():
    with torch.device("meta"):
        model = inattention.build(kv_heads=3)
    assert round(sum(w.numel() for w in model.parameters()) / 1e6, 1) == 134.5
