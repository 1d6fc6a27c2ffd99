"""Unlimiformer: its file keeps its shape, and what it builds is the part with the choices that were made."""

import torch
import transformers

from seefar.memory import Inverted
from seefar.papers import unlimiformer as paper
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(paper, Scale("smoke", (0,)))


def test_what_it_builds_holds_its_index_in_lists_where_told():
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 8, "num_layers": 1, "num_heads": 2, "vocab_size": 11}
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(transformers.T5Config(**sizes, decoder_start_token_id=0)).eval()
    ids = torch.randint(1, 11, (1, 90))
    words = []
    for lists in (None, Inverted(4, 4)):
        reader = paper.build(model, window=16, k=5, inverted=lists)
        words.append(reader.generate(ids, max_new_tokens=4))
        assert reader.read[0].built == (0 if lists is None else 90)
    assert torch.equal(*words)
