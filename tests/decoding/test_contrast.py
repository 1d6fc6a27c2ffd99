"""The contrasted run keeps step with the answer, and the rule is what it says, on the classes of transformers."""

import pytest
import torch
from torch.testing import assert_close

from seefar.decoding import ContrastiveDecoder, diffusion_noise, text_only

SPECIAL = [56, 57, 58, 59]  # ids of tests/decoding/conftest.py that stand for pictures


def same(inputs):
    return dict(inputs)


def generate(model, inputs, *processors, new=6, **options):
    options = {"do_sample": False, "suppress_tokens": SPECIAL, "pad_token_id": 0, **options}
    return model.generate(
        **inputs,
        logits_processor=list(processors),
        max_new_tokens=new,
        output_scores=True,
        output_logits=True,
        return_dict_in_generate=True,
        **options,
    )


def grown(inputs, ids):
    """The inputs with an answer behind the prompt."""
    more = ids.shape[1] - inputs["input_ids"].shape[1]
    longer = {**inputs, "input_ids": torch.cat([inputs["input_ids"], ids[:, -more:]], 1)} if more else dict(inputs)
    for name in ("attention_mask", "mm_token_type_ids"):
        if name in inputs:
            fill = 1 if name == "attention_mask" else 0
            longer[name] = torch.nn.functional.pad(inputs[name], (0, more), value=fill)
    return longer


class Watched(ContrastiveDecoder):
    """Keeps each step's rows and its view's logits."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.steps = []

    def __call__(self, input_ids, scores):
        out = super().__call__(input_ids, scores)
        self.steps.append((input_ids.clone(), self.runs[0].logits.clone()))
        return out


@torch.no_grad()
def fresh(model, inputs):
    """The next token's logits of each row without any cache, the row alone and without its padding."""
    rows = []
    for b, mask in enumerate(inputs["attention_mask"].bool()):
        row = {name: inputs[name][b : b + 1, mask] for name in ("input_ids", "mm_token_type_ids") if name in inputs}
        row["attention_mask"] = torch.ones_like(row["input_ids"])
        if "image_grid_thw" in inputs:
            each = len(inputs["pixel_values"]) // len(inputs["image_grid_thw"])
            row["image_grid_thw"] = inputs["image_grid_thw"][b : b + 1]
            row["pixel_values"] = inputs["pixel_values"][b * each : (b + 1) * each]
        if "pixel_values_videos" in inputs:
            row["pixel_values_videos"] = inputs["pixel_values_videos"][b : b + 1]
        rows.append(model(**row).logits[0, -1])
    return torch.stack(rows)


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize("view", ["noise", "text"])
def test_the_view_at_every_step_is_a_fresh_run_of_the_view_and_the_answer(tiny, view, sample):
    model, inputs = tiny
    view = diffusion_noise(700) if view == "noise" else text_only(*SPECIAL)
    torch.manual_seed(3)
    watched = Watched(model, inputs, [view], (2, -1), beta=0.01)
    generate(model, inputs, watched, do_sample=sample, new=8)
    assert len(watched.steps) == 8
    for ids, logits in watched.steps:
        new = ids[:, inputs["input_ids"].shape[1] :]
        other = view(inputs)
        whole = grown(other, torch.cat([other["input_ids"], new], 1))
        assert_close(logits, fresh(model, whole), rtol=1e-9, atol=1e-9)


def test_a_view_that_reads_the_main_cache_would_be_seen(llava_onevision):
    model, inputs = llava_onevision
    noisy = diffusion_noise(999)(inputs)
    with torch.no_grad():
        main = model(**inputs, use_cache=True)
        token = main.logits[:, -1:, :50].argmax(-1)
        mask = torch.ones(1, inputs["input_ids"].shape[1] + 1, dtype=torch.long)
        shared = model(input_ids=token, attention_mask=mask, past_key_values=main.past_key_values).logits[:, -1]
        right = fresh(model, grown(noisy, torch.cat([inputs["input_ids"], token], 1)))
    assert (shared - right).abs().max() > 0.05


def test_the_main_run_does_not_notice_the_view(tiny):
    model, inputs = tiny
    plain = generate(model, inputs)
    for view in (diffusion_noise(999), text_only(*SPECIAL)):
        watched = Watched(model, inputs, [view], (1, 0), beta=0)
        out = generate(model, inputs, watched)
        assert torch.equal(out.sequences, plain.sequences)
        assert_close(torch.stack(out.logits), torch.stack(plain.logits))


def test_what_qwen_remembers_of_its_prompt_is_left_alone(qwen2_5_vl):
    model, inputs = qwen2_5_vl
    generate(model, inputs, new=1)
    before = model.model.rope_deltas.clone()
    assert (before != 0).any()
    contrast = ContrastiveDecoder(model, inputs, [text_only(*SPECIAL)], (2, -1))
    scores = torch.zeros(2, 60)
    contrast(inputs["input_ids"], scores)
    contrast(torch.cat([inputs["input_ids"], torch.tensor([[3], [4]])], 1), scores)
    assert torch.equal(model.model.rope_deltas, before)


def test_without_contrast_and_cutoff_it_is_the_model(tiny):
    model, inputs = tiny
    plain = generate(model, inputs)
    out = generate(model, inputs, ContrastiveDecoder(model, inputs, [diffusion_noise(500)], (1, 0), beta=0))
    assert torch.equal(torch.stack(out.scores), torch.stack(plain.scores))


@pytest.mark.parametrize("alpha", [0.5, 1, 3])
def test_the_same_view_leaves_the_model_on_the_plausible_words(tiny, alpha):
    model, inputs = tiny
    plain = generate(model, inputs)
    out = generate(model, inputs, ContrastiveDecoder(model, inputs, [same], (1 + alpha, -alpha), beta=0.1))
    scores, base = torch.stack(out.scores), torch.stack(plain.scores)
    kept = scores.isfinite()
    assert torch.equal(kept, base >= base.amax(-1, keepdim=True) + torch.tensor(0.1).log())
    assert 1 < kept.float().sum(-1).mean() < 56
    assert_close(scores[kept], base[kept], rtol=1e-4, atol=1e-4)
    assert torch.equal(out.sequences, plain.sequences)


def test_contrast_with_text_alone_is_the_classifier_free_guidance_of_transformers(llava_onevision):
    from transformers import UnbatchedClassifierFreeGuidanceLogitsProcessor as Guidance

    model, inputs = llava_onevision
    view = text_only(*SPECIAL)
    torch.manual_seed(4)
    ours = generate(
        model, inputs, ContrastiveDecoder(model, inputs, [view], (2.5, -1.5), beta=0), new=20, do_sample=True
    )
    torch.manual_seed(4)
    theirs = generate(model, inputs, Guidance(2.5, model, **_renamed(view(inputs))), new=20, do_sample=True)
    assert torch.equal(ours.sequences, theirs.sequences)
    assert ours.sequences.shape[1] == inputs["input_ids"].shape[1] + 20
    assert_close(
        torch.stack(ours.scores).softmax(-1), torch.stack(theirs.scores).softmax(-1).float(), rtol=0, atol=2e-6
    )


def _renamed(inputs):
    return {f"unconditional_{name.removeprefix('input_')}": value for name, value in inputs.items()}


def test_the_cutoff_asks_the_model_and_not_the_contrast(llava_onevision):
    model, inputs = llava_onevision
    contrast = ContrastiveDecoder(model, inputs, [diffusion_noise(999)], (5, -4), beta=0.5)
    scores = torch.full((1, 60), -9.0)
    scores[0, :3] = torch.tensor([2.0, 1.9, 2.0 + torch.tensor(0.49).log()])
    out = contrast(inputs["input_ids"], scores)
    assert out.isfinite().nonzero()[:, 1].tolist() == [0, 1]
    assert_close(out[0, :2], 5 * scores[0, :2] - 4 * contrast.runs[0].logits[0, :2].float())
    alone = ContrastiveDecoder(model, inputs, [diffusion_noise(999)], (5, -4), beta=1)
    assert alone(inputs["input_ids"], scores).isfinite().nonzero()[:, 1].tolist() == [0]


def test_views_add_up_and_each_is_made_once_an_answer(llava_onevision):
    model, inputs = llava_onevision
    made = []

    def counted(step):
        def view(given):
            made.append(step)
            return diffusion_noise(step)(given)

        return view

    both = ContrastiveDecoder(model, inputs, [counted(300), counted(900)], (2, 0.5, -1.5), beta=0)
    first = generate(model, inputs, both)
    assert made == [300, 900]
    logits = [fresh(model, diffusion_noise(step)(inputs)).float() for step in (300, 900)]
    base = first.scores[0].isfinite()
    want = 2 * first.logits[0] + 0.5 * logits[0] - 1.5 * logits[1]
    assert_close(first.scores[0][base], want[base], rtol=1e-5, atol=1e-5)
    again = generate(model, inputs, both)
    assert torch.equal(again.sequences, first.sequences) and made == [300, 900] * 2


def test_a_row_is_answered_as_if_alone(qwen2_5_vl):
    model, inputs = qwen2_5_vl
    weights, view = (2, -1), text_only(*SPECIAL)
    both = generate(model, inputs, ContrastiveDecoder(model, inputs, [view], weights)).sequences
    for b in range(2):
        mask = inputs["attention_mask"][b].bool()
        row = {name: inputs[name][b : b + 1, mask] for name in ("input_ids", "attention_mask", "mm_token_type_ids")}
        row |= {
            "pixel_values": inputs["pixel_values"][24 * b : 24 * b + 24],
            "image_grid_thw": inputs["image_grid_thw"][b : b + 1],
        }
        alone = generate(model, row, ContrastiveDecoder(model, row, [view], weights)).sequences
        assert torch.equal(alone[:, -6:], both[b : b + 1, -6:])


def test_beams_are_refused(llava_onevision):
    model, inputs = llava_onevision
    contrast = ContrastiveDecoder(model, inputs, [diffusion_noise(500)], (2, -1))
    with pytest.raises(ValueError, match=r"beams are not supported \(num_beams=1\)"):
        generate(model, inputs, contrast, num_beams=3)


def test_rows_that_change_under_way_are_refused(llava_onevision):
    model, inputs = llava_onevision
    contrast = ContrastiveDecoder(model, inputs, [diffusion_noise(500)], (2, -1))
    longer = torch.cat([inputs["input_ids"], torch.tensor([[3]])], 1)
    with pytest.raises(ValueError, match="one token a step"):
        contrast(longer, torch.zeros(1, 60))
    contrast(inputs["input_ids"], torch.zeros(1, 60))
    contrast(longer, torch.zeros(1, 60))
    with pytest.raises(ValueError, match="one token a step"):
        contrast(torch.cat([inputs["input_ids"], torch.tensor([[4, 5]])], 1), torch.zeros(1, 60))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"beta": 1.5}, r"\[0, 1\], got 1.5"),
        ({"beta": -0.1}, r"\[0, 1\]"),
        ({"weights": (2,)}, "one weight for the model and one for each view"),
        ({"views": []}, "one weight for the model and one for each view"),
        ({"weights": (0, -1)}, "above 0"),
        ({"inputs": {"pixel_values": torch.zeros(1)}}, "need input_ids"),
        ({"inputs": {"input_ids": torch.zeros(2, 3, dtype=torch.long)}}, "needs its attention_mask"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change, says):
    given = {
        "inputs": {"input_ids": torch.zeros(1, 3, dtype=torch.long)},
        "views": [same],
        "weights": (2, -1),
        **change,
    }
    with pytest.raises(ValueError, match=says):
        ContrastiveDecoder(None, **given)
