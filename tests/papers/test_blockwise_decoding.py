"""Blockwise decoding: its file keeps its shape, what it builds writes what generate writes."""

import torch

from seefar.decoding.blockwise import write
from seefar.papers import blockwise_decoding
from seefar.papers._card import Scale
from seefar.testing import check_paper


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(blockwise_decoding, Scale("smoke", (0,)))


def test_what_it_builds_writes_what_generate_writes():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=30, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        bos_token_id=None, eos_token_id=None, pad_token_id=0, initializer_range=0.4,
    )  # fmt: skip
    model = LlamaForCausalLM(config).double().eval()
    prompt = torch.randint(30, (1, 7))
    done = write(*blockwise_decoding.build(model, block=4), prompt, 12)
    assert torch.equal(done.ids, model.generate(prompt, max_new_tokens=12, do_sample=False)[0, 7:])
