"""Training on captions lowers the loss of the words alone, and repeats itself."""

import torch

from seefar.synthetic.scenes import END, PAD, PairedScenes
from seefar.training.captions import caption_loss, train_captioner
from seefar.vlm.captioner import caption_inputs, captioner

WORLD = PairedScenes(pairs=1, grid=2, noise=0.1)


def test_the_loss_is_that_of_the_next_word_given_the_picture_and_those_before():
    torch.manual_seed(0)
    model = captioner(WORLD.vocabulary, WORLD.size).eval()
    drawn = WORLD.draw(5, 0)
    want = []
    with torch.no_grad():
        for b, words in enumerate(drawn.words):
            inputs = caption_inputs(drawn.pixels[b : b + 1])
            for word in words[words != PAD]:
                want.append(-model(**inputs).logits[0, -1].log_softmax(-1)[word])
                ids = torch.cat([inputs["input_ids"], word.reshape(1, 1)], 1)
                inputs = {**inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        got, _ = caption_loss(model, drawn)
    assert (drawn.words == END).sum() == 5
    torch.testing.assert_close(got, torch.stack(want).mean())


def test_it_learns_and_the_same_seed_learns_the_same():
    first, again, other = (train_captioner(WORLD, steps=12, seed=seed, batch=8) for seed in (0, 0, 1))
    drawn = WORLD.draw(50, 99)
    torch.manual_seed(0)
    raw = captioner(WORLD.vocabulary, WORLD.size)
    with torch.no_grad():
        losses = [float(caption_loss(model, drawn)[0]) for model in (first, again, other, raw)]
    assert losses[0] == losses[1] != losses[2] and losses[0] < losses[3] - 0.1
    assert not first.training
