"""The untrained model is a real one that reads the features it is given."""

import pytest
import torch

from seefar.sequence import VisualSequence
from seefar.vlm.untrained import between_words, untrained_onevision


def film(seed=0):
    x = torch.randn(1, 2, 2, 3, 16, generator=torch.Generator().manual_seed(seed))
    return VisualSequence.of_grid(x, torch.arange(2))


@torch.no_grad()
def test_features_stand_where_the_slots_say():
    model, seq = untrained_onevision(16, layers=2), film()
    given, slots = between_words(model, seq, 3, 4)
    assert slots.tolist() == list(range(3, 15)) and given["input_ids"].shape == (1, 19)
    embeds = model.get_input_embeddings()(given["input_ids"]).clone()
    embeds[0, slots] = seq.tokens[0]
    want = model(inputs_embeds=embeds).logits
    torch.testing.assert_close(model(**given).logits, want, rtol=0, atol=1e-6)
    assert len(model.base_model.language_model.layers) == 2


def test_a_seed_draws_the_same_weights_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    one, two, other = (untrained_onevision(16, layers=1, seed=seed).lm_head.weight for seed in (0, 0, 1))
    assert torch.equal(one, two) and not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match="multiple of 8, got 12; try 64"):
        untrained_onevision(12)
    with pytest.raises(ValueError, match="at least 0, got -1 and 2"):
        between_words(untrained_onevision(8, layers=1), film(), -1, 2)
