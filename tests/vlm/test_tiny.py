"""The small networks: what each output may depend on."""

import pytest
import torch

from seefar.vlm.tiny import NAMES, FrameText


@pytest.fixture(scope="module")
def eyes():
    torch.manual_seed(0)
    return FrameText(40).eval()


@torch.inference_mode()
def test_relevance_is_the_product_of_word_and_mapped_patch_plus_the_words_worth(eyes):
    tokens, heard, worth = torch.randn(5, 128), torch.randn(2, 3, 128), torch.randn(2, 3)
    got = eyes.relevance(tokens, heard, worth)
    for b in range(2):
        for word in range(3):
            for n in range(5):
                want = heard[b, word] @ eyes.see(tokens[n]) / 128**0.5 + worth[b, word]
                assert got[b, word, n] == pytest.approx(float(want), abs=1e-4)


def test_a_word_is_heard_with_those_before_it_alone(eyes):
    code = torch.tensor([[7, 8, 9, 10]])
    other = torch.tensor([[7, 8, 9, 11]])
    (a, wa), (b, wb) = eyes.hear(code), eyes.hear(other)
    assert torch.equal(a[:, :3], b[:, :3]) and torch.equal(wa[:, :3], wb[:, :3])
    assert not torch.allclose(a[:, 3], b[:, 3])
    assert not torch.allclose(eyes.hear(torch.tensor([[12, 8, 9, 10]]))[0][:, 3], a[:, 3])


@torch.inference_mode()
def test_the_names_of_a_token_are_one_distribution_for_each_group(eyes):
    tokens = torch.randn(5, 128)
    given = eyes.name(tokens).split(list(NAMES.values()), -1)
    raw = eyes.names(tokens)
    torch.testing.assert_close(torch.stack([group.sum(-1) for group in given], -1), torch.ones(5, len(NAMES)))
    torch.testing.assert_close(given[1].log().diff(), raw[:, 9:18].diff())


@torch.inference_mode()
def test_of_each_frame_one_patch_of_each_colour_is_picked_before_a_second_of_any_and_shapes_before_scenery(eyes):
    red, green, none = 0, 3, 8
    colours = torch.tensor([[none, red, red, red, green, none], [none, none, red, none, none, none]])
    logits = torch.zeros(2, 6, sum(NAMES.values())).scatter(-1, colours[..., None], 12.0)
    tokens = (logits - eyes.names.bias) @ torch.linalg.pinv(eyes.names.weight).T
    torch.testing.assert_close(eyes.names(tokens), logits, rtol=1e-3, atol=1e-3)
    relevance = torch.tensor([[4.0, 1.0, 5.0, 3.0, -6.0, 2.0], [1.0, 9.0, -5.0, 0.0, 2.0, 3.0]])
    assert eyes.pick(tokens, relevance, 3).tolist() == [[2, 4, 3], [2, 1, 5]]
    assert eyes.pick(tokens, relevance, 6).sort(1).values.tolist() == [list(range(6))] * 2


def test_padding_can_never_be_the_best_word(eyes):
    heard, worth = eyes.hear(torch.tensor([[7, 8, 0, 0]]))
    logits = eyes.relevance(torch.randn(6, 128), heard, worth)
    assert (logits[:, 2:] < logits[:, :2].min() - 1000).all()


def test_a_frames_tokens_depend_on_that_frame_alone_and_carry_its_second(eyes):
    frames = torch.randint(0, 255, (3, 3, *eyes.size), dtype=torch.uint8)
    seq = eyes.watch(frames, torch.tensor([1.5, 2.5, 9.0], dtype=torch.float64))
    alone = eyes.watch(frames[1:2], torch.tensor([2.5], dtype=torch.float64))
    P = eyes.grid[0] * eyes.grid[1]
    torch.testing.assert_close(seq.tokens[:, P : 2 * P], alone.tokens, rtol=1e-4, atol=1e-4)
    assert seq.span[0, ::P, 0].tolist() == [1.5, 2.5, 9.0] and seq.grid == (3, *eyes.grid)


def test_another_frame_size_says_to_resize(eyes):
    with pytest.raises(ValueError, match=r"\(64, 112\)"):
        eyes.watch(torch.zeros(1, 3, 90, 160, dtype=torch.uint8), torch.zeros(1))
