"""Transfer: the losses look at the colour after each name, naming leaves the language model alone, and both teach."""

import pytest
import torch
import torch.nn.functional as F

from seefar.embed.patch import ConvPatches
from seefar.synthetic.signs import Signs
from seefar.training.transfer import name_loss, sight_loss, teach_names, teach_sight, teach_text, text_loss
from seefar.vlm.unires import UniRes, small_qwen

SIGNS = Signs(names=6, fillers=3, facts=2)


def language(layers=1):
    torch.manual_seed(0)
    return small_qwen(SIGNS.vocabulary, dim=16, layers=layers, heads=2)


def reader():
    return UniRes(ConvPatches(8, (8, 8)), language())


def test_the_text_loss_is_the_cross_entropy_of_the_colours_alone():
    model, told = language().double().eval(), SIGNS.draw(3, 12, 4, 0)
    logits = model(torch.cat([told.words, told.asked], 1)).logits
    want = [F.cross_entropy(logits[row, 12 + 3 * q + 1], told.answers[row, q]) for row in range(3) for q in range(4)]
    torch.testing.assert_close(text_loss(model, told)[0], torch.stack(want).mean(), rtol=1e-10, atol=1e-10)


def test_a_film_that_is_seen_as_its_words_has_the_loss_of_its_words():
    model, told = reader().double().eval(), SIGNS.draw(2, 8, 3, 0)
    embed = model.model.get_input_embeddings()
    model.see = lambda frames: type("Seen", (), {"tokens": embed(told.words)})
    got = sight_loss(model, (told, torch.zeros(1)))
    assert got[0].item() == pytest.approx(text_loss(model.model, told)[0].item(), rel=1e-10)
    named = name_loss(model, (told, torch.zeros(1)))
    assert named[1] == {"right": 1.0, "off": 0.0}


def test_naming_trains_eye_and_projector_and_leaves_the_language_model():
    model = reader()
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    log = teach_names(model, SIGNS, steps=30, batch=8, seed=0)
    assert log[-1]["loss"] < log[0]["loss"]
    moved = {name.split(".")[0] for name, weight in model.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {"eye", "project"}
    assert all(weight.requires_grad for weight in model.parameters())


def test_sight_trains_all_and_text_the_language_model_on_lengths_up_to_the_longest():
    model, seen = reader(), []
    model.eye.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    teach_sight(model, SIGNS, 3, steps=12, batch=2, questions=2, seed=0)
    assert set(seen) == {1, 2, 3}
    assert {name.split(".")[0] for name, w in model.named_parameters() if not torch.equal(w, before[name])} == {
        "eye",
        "project",
        "model",
    }
    language_model = language()
    log = teach_text(language_model, SIGNS, 16, steps=20, batch=4, questions=2, seed=0)
    assert len(log) == 20 and 0 <= log[-1]["right"] <= 1
