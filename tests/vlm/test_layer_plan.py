"""LayerPlan on real classes, against a decoder run layer by layer with masks written down by hand."""

from itertools import pairwise

import pytest
import torch

from seefar import media
from seefar.vlm.layer_plan import LayerPlan, kept_counts, linear_rho
from seefar.vlm.plan import choose_frames
from seefar.vlm.recipes import recipe
from seefar.vlm.wrap import load_folder

FAMILIES = ("qwen2_5_vl", "llava_onevision", "smolvlm")
TEXT = {"qwen2_5_vl": "language_model", "llava_onevision": "language_model", "smolvlm": "text_model"}
L, NEW = 40, 4
SLOTS = torch.arange(5, 35)
RHO = (0.7, 0.3, 0.0)


@pytest.fixture(scope="module")
def models(hf_folders):
    from transformers import AutoModelForImageTextToText

    return {
        family: AutoModelForImageTextToText.from_pretrained(
            hf_folders[family], attn_implementation="eager", dtype=torch.float64
        ).eval()
        for family in FAMILIES
    }


def decoder(model):
    return getattr(model.base_model, TEXT[model.config.model_type])


def drawn(model, rows=1, seed=0):
    """Embeddings of a prompt and of what follows it, and positions that are not one after the other."""
    random = torch.Generator().manual_seed(seed)
    embeds = torch.randn(rows, L + NEW, 64, dtype=torch.float64, generator=random)
    places = torch.arange(L + NEW).expand(rows, -1)
    if model.config.model_type == "qwen2_5_vl":
        places = torch.stack([places // 2, places % 7, places % 5])
    return embeds, places


@torch.no_grad()
def by_hand(model, embeds, places, slots, rho):
    """(rows, L + NEW, V) logits: nothing is shortened, dropped tokens are hidden from all; and who each layer saw."""
    text = decoder(model)
    cos_sin = text.rotary_emb(embeds, places)
    on = torch.ones(len(embeds), L, dtype=torch.bool)
    film = torch.zeros_like(on)
    film[:, slots] = True
    x, seen = embeds, []
    for layer, share in zip(text.layers, rho, strict=True):
        seen.append(on.clone())
        visible = torch.cat([on, torch.ones(len(on), NEW, dtype=torch.bool)], 1)[:, None, None, :]
        visible = visible & torch.ones(L + NEW, L + NEW).tril().bool()
        mask = torch.zeros(visible.shape, dtype=torch.float64).masked_fill(~visible, -torch.inf)
        attended, weights = layer.self_attn(
            hidden_states=layer.input_layernorm(x), attention_mask=mask, position_embeddings=cos_sin
        )
        x = x + attended
        x = x + layer.mlp(layer.post_attention_layernorm(x))
        for row in range(len(on)):
            alive = on[row].nonzero()[:, 0]
            links = (weights[row, :, alive][:, :, alive].log() / 0.1).softmax(-1)
            score = torch.linalg.matrix_power(links, 5).mean(1).square().mean(0).sqrt()
            score = torch.where(film[row, alive], score, 1.0)
            order = score.sort(descending=True, stable=True).indices[: int(len(slots) * share + 1e-9) + L - len(slots)]
            on[row] = torch.zeros(L, dtype=torch.bool).scatter(0, alive[order], True)
    return model.lm_head(text.norm(x)), seen


@torch.no_grad()
def through(model, embeds, places, plan):
    """Logits of a prefill and of each decoding step after it, under an open plan; and the cache."""
    with plan:
        out = model(inputs_embeds=embeds[:, :L], position_ids=places[..., :L], use_cache=True)
        logits, cache = [out.logits], out.past_key_values
        for at in range(L, L + NEW):
            step = model(
                inputs_embeds=embeds[:, at : at + 1], position_ids=places[..., at : at + 1], past_key_values=cache
            )
            logits.append(step.logits)
    return torch.cat(logits, 1), cache


@pytest.mark.parametrize("shorten", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_shorter_sequences_and_masks_give_the_logits_written_down_by_hand(models, family, shorten):
    model = models[family]
    embeds, places = drawn(model, rows=2)
    want, seen = by_hand(model, embeds, places, SLOTS, RHO)
    plan = LayerPlan(decoder(model).layers, SLOTS, RHO, shorten=shorten)
    got, cache = through(model, embeds, places, plan)
    words = torch.ones(L + NEW, dtype=torch.bool)
    words[SLOTS] = False
    assert want[:, words].abs().max() > 0.5
    torch.testing.assert_close(got[:, words], want[:, words], rtol=0, atol=1e-5)
    for kept, alive in zip(plan.kept, seen, strict=True):
        assert torch.equal(kept, alive.nonzero()[:, 1].reshape(2, -1))
    lengths = [L] * 3 if not shorten else [40, 31, 19]
    assert [layer.keys.shape[2] for layer in cache.layers] == [n + NEW for n in lengths]
    plain, _ = through(model, embeds, places, LayerPlan(decoder(model).layers, SLOTS, (1.0,) * 3))
    assert (plain[:, -1] - want[:, -1]).abs().max() > 1e-3, "dropping changes nothing, so equality shows nothing"


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_plan_that_keeps_all_gives_the_logits_of_the_model_itself(models, family, attention):
    model = models[family]
    embeds, places = drawn(model)
    model.set_attn_implementation(attention)
    try:
        want = model(inputs_embeds=embeds, position_ids=places).logits
        with LayerPlan(decoder(model).layers, SLOTS, (1.0, 1.0, 1.0)) as plan:
            assert torch.equal(model(inputs_embeds=embeds, position_ids=places).logits, want)
        assert [kept.shape[1] for kept in plan.kept] == [L + NEW] * 3
    finally:
        model.set_attn_implementation("eager")


def test_counts_follow_the_schedule_text_stays_and_drops_are_nested(models):
    model = models["llava_onevision"]
    for rho in (RHO, (1.0, 0.5, 0.5), (0.0, 0.0, 0.0), (0.5, 0.5, 0.1)):
        plan = LayerPlan(decoder(model).layers, SLOTS.flip(0), rho)
        _, cache = through(model, *drawn(model), plan)
        counts = kept_counts(30, 10, rho)
        assert [layer.keys.shape[2] - NEW for layer in cache.layers] == counts == [k.shape[1] for k in plan.kept]
        sets = [set(kept[0].tolist()) for kept in plan.kept]
        assert all(after <= before for before, after in pairwise(sets))
        assert all(set(range(L)) - set(SLOTS.tolist()) <= kept for kept in sets)


def test_the_published_schedule_is_full_to_layer_14_and_empty_after_21():
    rho = linear_rho(28, 14, 21)
    assert rho == (*[1.0] * 14, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, *[0.0] * 7)
    assert kept_counts(1568, 50, rho) == [1618] * 15 + [50 + 196 * k for k in range(7, 0, -1)] + [50] * 6
    assert kept_counts(10, 0, (0.7, 0.7 - 0.4, 0.0)) == [10, 7, 3]


def test_dropped_tokens_leave_what_they_last_were_in_their_place(models):
    model = models["smolvlm"]
    text = decoder(model)
    embeds, places = drawn(model)
    outputs = []
    hook = text.layers[0].register_forward_hook(lambda *given: outputs.append(given[2]))
    finals = []
    last = text.norm.register_forward_pre_hook(lambda _, given: finals.append(given[0]))
    with torch.no_grad(), LayerPlan(text.layers, SLOTS, RHO) as plan:
        model(inputs_embeds=embeds[:, :L], position_ids=places[:, :L])
    hook.remove()
    last.remove()
    gone = sorted(set(range(L)) - set(plan.kept[1][0].tolist()))
    assert finals[0].shape == (1, L, 64) and torch.equal(finals[0][:, gone], outputs[0][:, gone])


def test_rows_with_films_in_different_places_are_as_if_alone(models):
    model = models["llava_onevision"]
    embeds, places = drawn(model, rows=2)
    slots = torch.stack([SLOTS, SLOTS + 3])
    both, _ = through(model, embeds, places, LayerPlan(decoder(model).layers, slots, RHO))
    for row in range(2):
        plan = LayerPlan(decoder(model).layers, slots[row], RHO)
        alone, _ = through(model, embeds[row : row + 1], places[row : row + 1], plan)
        torch.testing.assert_close(both[row], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_generating_about_a_film_gives_the_words_of_the_masked_form_and_leaves_no_hook(hf_folders, hf_film, family):
    model, video = load_folder(hf_folders[family], dtype=torch.float64), media.open(hf_film)
    model.model.set_attn_implementation("eager")
    frames = choose_frames(model.family, recipe("pool"), video, budget=97, fps=1.0)
    prompt = model.prompt(model.see(video, frames, 1.0), "When does the red square leave?", 97, recipe("pool").make())
    before = model.model.generate(**prompt.inputs(), max_new_tokens=5, do_sample=False)
    words = []
    for shorten in (True, False):
        with LayerPlan(decoder(model.model).layers, prompt.slots, (0.5, 0.0, 0.0), shorten=shorten) as plan:
            words.append(model.model.generate(**prompt.inputs(), max_new_tokens=5, do_sample=False))
        assert plan.kept[2].shape[1] == prompt.inputs()["input_ids"].shape[1] - len(prompt.slots)
    assert torch.equal(*words)
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in decoder(model.model).layers.modules())
    assert torch.equal(model.model.generate(**prompt.inputs(), max_new_tokens=5, do_sample=False), before)


@pytest.mark.parametrize(
    ("rho", "slots", "message"),
    [
        ((0.5, 0.7, 0.0), SLOTS, "must not rise with depth"),
        ((1.5, 0.7, 0.0), SLOTS, r"share in \[0, 1\]"),
        ((1.0, 0.0), SLOTS, "each of 3 layers, got 2"),
        (RHO, torch.tensor([3, 3]), "none twice"),
        (RHO, torch.tensor([-1, 3]), "none negative"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(models, rho, slots, message):
    with pytest.raises(ValueError, match=message):
        LayerPlan(decoder(models["smolvlm"]).layers, slots, rho)
    assert not any(part._forward_pre_hooks for part in decoder(models["smolvlm"]).layers.modules())


@torch.no_grad()
def test_what_cannot_be_dropped_is_refused_in_words(models):
    from transformers import StaticCache

    model = models["llava_onevision"]
    layers = decoder(model).layers
    embeds, _ = drawn(model, rows=2)
    prompt = embeds[:, :L]
    model.set_attn_implementation("sdpa")
    with pytest.raises(ValueError, match='attn_implementation="eager"'), LayerPlan(layers, SLOTS, RHO):
        model(inputs_embeds=prompt)
    model.set_attn_implementation("eager")
    padding = torch.ones(2, L, dtype=torch.long)
    padding[0, :3] = 0
    with pytest.raises(ValueError, match="prompts of unequal length one by one"), LayerPlan(layers, SLOTS, RHO):
        model(inputs_embeds=prompt, attention_mask=padding)
    with pytest.raises(ValueError, match="whole prompt in one call"), LayerPlan(layers, SLOTS, RHO):
        model(inputs_embeds=prompt[:, :20])
    filled = model(inputs_embeds=prompt, use_cache=True).past_key_values
    with pytest.raises(ValueError, match="open the plan first"), LayerPlan(layers, SLOTS, RHO):
        model(inputs_embeds=embeds[:, L:], past_key_values=filled)
    fixed = StaticCache(model.config.get_text_config(), max_cache_len=64)
    with pytest.raises(ValueError, match="DynamicCache"), LayerPlan(layers, SLOTS, RHO):
        model(inputs_embeds=prompt, past_key_values=fixed)
    with pytest.raises(ValueError, match="layers of the language model"):
        LayerPlan(torch.nn.ModuleList([torch.nn.Linear(2, 2)]), SLOTS, (1.0,))
    with pytest.raises(ValueError, match="first <= last < layers"):
        linear_rho(28, 21, 14)
    with pytest.raises(ValueError, match="at least 0"):
        kept_counts(-1, 0, (1.0,))
