"""Samba: its file keeps its shape, what it builds streams, and only Mamba carries what the windows cannot see."""

import torch

from seefar.evals.language import state_bytes
from seefar.papers import samba
from seefar.papers._card import Scale
from seefar.testing import check_paper, check_streaming


def _small(pattern="(M F A F)*2", **changes):
    torch.manual_seed(0)
    return samba.build(8, pattern, **({"words": 11, "heads": 2, "kv_heads": 1, "window": 4, "states": 3} | changes))


def test_the_file_keeps_its_shape_and_its_claim_runs():
    check_paper(samba, Scale("smoke", (0,)))


def test_what_it_builds_streams_past_its_window():
    check_streaming(_small().column, torch.randn(2, 19, 8))


def test_prefill_in_chunks_and_words_one_by_one_give_the_same_logits():
    model, ids = _small().double(), torch.randint(11, (2, 23))
    with torch.inference_mode():
        whole, state, rows = model(ids)[0], None, []
        for piece in (ids[:, :9], ids[:, 9:18], *ids[:, 18:].split(1, 1)):
            logits, state = model(piece, state)
            rows.append(logits)
    torch.testing.assert_close(torch.cat(rows, 1), whole, rtol=1e-9, atol=1e-9)


def test_a_block_is_a_mamba_of_transformers_an_mlp_and_a_layer_of_mistral():
    from transformers import MambaConfig, MambaModel, MistralConfig, MistralModel

    torch.manual_seed(0)
    mamba = MambaModel(MambaConfig(hidden_size=8, state_size=3, num_hidden_layers=1, vocab_size=11)).layers[0]
    sizes = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "intermediate_size": 16}
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 11, "sliding_window": 4, "rms_norm_eps": 1e-5}
    mistral = MistralModel(MistralConfig(**sizes, **settings, initializer_range=0.5)).eval()
    layer, model = mistral.layers[0], _small("M F A F", ratio=3)
    ours = model.column.blocks
    ours[0].mixer.load_state_dict(mamba.mixer.state_dict())
    ours[2].mixer.load_state_dict(layer.self_attn.state_dict())
    for block, norm in ((ours[0], mamba.norm), (ours[2], layer.input_layernorm)):
        block.norm.load_state_dict(norm.state_dict())
    for block in (ours[1], ours[3]):
        names = {"gate_proj": "gate", "up_proj": "into", "down_proj": "out"}
        weights = {f"{names[key.split('.')[0]]}.weight": value for key, value in layer.mlp.state_dict().items()}
        block.mixer.load_state_dict(weights)
    x = torch.randn(2, 15, 8)
    with torch.no_grad():
        h = mamba(x)
        h = h + layer.mlp(layer.post_attention_layernorm(h))
        want = mistral(inputs_embeds=h).last_hidden_state
        torch.testing.assert_close(model.norm(model.column(x)[0]), want, rtol=1e-4, atol=1e-5)
        wider = MistralModel(MistralConfig(**sizes, **(settings | {"sliding_window": 5}))).eval()
        wider.load_state_dict(mistral.state_dict())
        assert (wider(inputs_embeds=h).last_hidden_state - want).abs().max() > 1e-3


def test_its_state_has_one_size_at_any_length():
    model = _small()
    with torch.inference_mode():
        sizes = {n: state_bytes(model(torch.zeros(1, n, dtype=torch.int64))[1]) for n in (1, 50, 2000)}
    # two windows of 3 keys and values of 4 channels; two states of 16 channels by 3 and 3 taps
    assert set(sizes.values()) == {2 * (2 * 3 * 4 + 16 * 3 + 16 * 3) * 4}


def test_windows_alone_see_no_further_than_they_reach_and_mamba_does():
    reach = 2 * 3
    for pattern, felt in (("(A F)*2", reach), ("(M F A F)*2", 19)):
        column = _small(pattern).column.double()
        x = torch.randn(1, 20, 8, dtype=torch.float64, requires_grad=True)
        (grad,) = torch.autograd.grad(column(x)[0][:, -1].sum(), x)
        assert grad.abs().sum((0, 2)).nonzero().flatten().tolist() == list(range(19 - felt, 20))


def test_the_published_size_has_421_million_weights():
    with torch.device("meta"):
        model = samba.build()
    kinds = [type(block.mixer).__name__ for block in model.column.blocks]
    assert kinds == ["Mamba", "MLP", "Attention", "MLP"] * 6
    assert sum(w.numel() for w in model.parameters()) // 1_000_000 == 421
