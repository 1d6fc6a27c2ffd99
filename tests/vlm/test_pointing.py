"""Reading evidence and pointing at it: padding is invisible, and step by step is the whole."""

import itertools

import pytest
import torch

from seefar.sequence import VisualSequence
from seefar.synthetic.questions import vocabulary
from seefar.synthetic.shapes import COLOURS, SHAPES
from seefar.vlm.pointing import APART, FAR, Told, as_asked, collate, gather_evidence, narrate, read_packed
from seefar.vlm.text import Words
from seefar.vlm.tiny import FrameText, Narrator

WORDS = Words(["when", "red", "star", "yes", "no", "2"])


@pytest.fixture(scope="module")
def nets():
    torch.manual_seed(3)
    return FrameText(len(WORDS)).eval(), Narrator(len(WORDS)).eval()


def some_evidence(eyes, seconds, keep=3, seed=0):
    torch.manual_seed(seed)
    T = len(seconds)
    seq = VisualSequence.of_grid(torch.randn(1, T, *eyes.grid, 128), torch.tensor(seconds))
    P = eyes.grid[0] * eyes.grid[1]
    which = torch.stack([torch.randperm(P)[:keep].sort().values + t * P for t in range(T)]).flatten()
    code = torch.tensor(WORDS.encode("when red star"))
    heard, worth = eyes.hear(code[None])
    return code, heard[0], gather_evidence(eyes, seq.take(which[None]), heard[0], worth[0])


def test_evidence_knows_its_neighbours_in_time(nets):
    _, _, evidence = some_evidence(nets[0], [4.0, 5.0, 30.0])
    gaps = evidence.time_BK2[0].expm1()
    assert evidence.frame_BK[0].tolist() == [0] * 3 + [1] * 3 + [2] * 3
    want = [[FAR, 1.0]] * 3 + [[1.0, 25.0]] * 3 + [[25.0, FAR]] * 3
    torch.testing.assert_close(gaps, torch.tensor(want), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_token_comes_with_its_names_and_the_word_it_answers_best(nets):
    eyes, _ = nets
    seq = VisualSequence.of_grid(torch.randn(1, 2, *eyes.grid, 128), torch.tensor([1.0, 2.0]))
    heard, worth = eyes.hear(torch.tensor([WORDS.encode("when red star")]))
    evidence = gather_evidence(eyes, seq, heard[0], worth[0])
    logits = eyes.relevance(seq.tokens[0], heard, worth)[0]
    torch.testing.assert_close(evidence.names_BKN[0], eyes.name(seq.tokens[0]))
    for k in range(logits.shape[1]):
        best = int(logits[:, k].argmax())
        assert torch.equal(evidence.words_BKD[0, k], heard[0, best])
        assert float(evidence.score_BK1[0, k, 0]) == pytest.approx(float(logits[best, k]), abs=1e-5)


@torch.inference_mode()
def test_padding_between_the_parts_changes_nothing(nets):
    eyes, lm = nets
    rows = [some_evidence(eyes, [1.0, 2.0, 3.0], seed=1), some_evidence(eyes, [7.0], seed=2)]
    evidence = collate([row[2] for row in rows])
    code = torch.zeros(2, 5, dtype=torch.int64)
    heard = torch.zeros(2, 5, 128)
    for b, (words, ear, _) in enumerate(rows):
        code[b, : len(words)], heard[b, : len(words)] = words, ear
    answer = lm.word(torch.tensor([[2, 9], [2, 0]]))
    answer_mask = torch.tensor([[True, True], [True, False]])
    parts = [(lm.ask(code, heard), code > 0), (lm.see(evidence), evidence.mask_BK), (answer, answer_mask)]
    _, marks, hidden = read_packed(lm, parts)
    for b, (words, ear, proof) in enumerate(rows):
        alone = torch.cat(
            [lm.ask(words[None], ear[None]), lm.see(proof), answer[b : b + 1, : int(answer_mask[b].sum())]], 1
        )
        want = lm.norm(lm.stack(alone)[0])[0]
        K, S = proof.mask_BK.shape[1], int(answer_mask[b].sum())
        torch.testing.assert_close(marks[b, :K], want[len(words) : len(words) + K], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(hidden[b, :S], want[len(words) + K :], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_answering_step_by_step_is_reading_everything_at_once(nets):
    eyes, lm = nets
    lm = Narrator(len(WORDS)).eval()
    for seed in range(4):
        code, heard, evidence = some_evidence(eyes, [1.0, 2.0, 3.0, 40.0], seed=seed)
        told = narrate(lm, code, heard, evidence, WORDS.index, steps=4)
        steps = [lm.word(torch.tensor([[WORDS.index["<answer>"]]]))]
        words, points, V = list(told.words), list(told.points), len(WORDS)
        while words or points:
            whole = torch.cat([lm.ask(code[None], heard[None]), lm.see(evidence), *steps], 1)
            hidden = lm.norm(lm.stack(whole)[0])
            marks = hidden[:, len(code) : len(code) + evidence.mask_BK.shape[1]]
            chance = lm.scores(hidden[:, -1:], marks, evidence.mask_BK)[0, 0].softmax(-1)
            frames = [chance[V:][evidence.frame_BK[0] == f].sum() for f in range(4)]
            if max(frames) > chance[:V].max():
                token, probability = points.pop(0)
                assert probability == pytest.approx(float(max(frames)), abs=1e-5)
                assert int(evidence.frame_BK[0, token]) == int(torch.stack(frames).argmax())
                point = lm.word(torch.tensor([[WORDS.index["<point>"]]]))
                steps.append(point + lm.see(evidence)[:, token : token + 1])
            else:
                word = words.pop(0)
                assert word == int(chance[:V].argmax())
                steps.append(lm.word(torch.tensor([[word]])))


@torch.inference_mode()
def test_no_two_moments_of_an_answer_are_less_than_two_seconds_apart(nets):
    eyes, _ = nets
    seconds = [1.0, 2.0, 3.0, 40.0]
    close = {False: 0, True: 0}
    for seed in range(12):
        torch.manual_seed(seed)
        lm = Narrator(len(WORDS)).eval()
        lm.say.bias -= 9  # so that it points whenever it can
        code, heard, evidence = some_evidence(eyes, seconds, seed=seed)
        second_K = torch.tensor(seconds).repeat_interleave(3)
        for told_apart in (False, True):
            told = narrate(lm, code, heard, evidence, WORDS.index, steps=3, second_K=second_K if told_apart else None)
            at = sorted(float(second_K[token]) for token, _ in told.points)
            close[told_apart] += sum(b - a < APART for a, b in itertools.pairwise(at))
    assert close[True] == 0 < close[False]


def test_of_several_things_asked_about_the_answer_names_one():
    words = Words(vocabulary())
    names = torch.zeros(2, 31)
    names[0, [list(COLOURS).index("white"), 9 + list(SHAPES).index("ring")]] = 1.0
    names[0, 9 + list(SHAPES).index("star")] = 0.1

    def put(question, said):
        told = as_asked(Told(words.encode(said), [(0, 0.9)], 0.9), question, names, words)
        return " ".join(words.all[word] for word in told.words)

    order = "Which comes first, the blue diamond, the white star or the cyan ring?"
    assert put(order, "white ring") == "white star"
    assert put(order, "cyan ring") == "cyan ring" and put(order, "red heart") == "red heart"
    assert put("What colour does the white star become?", "white ring") == "white ring"
    assert put(order, "yes") == "yes"
