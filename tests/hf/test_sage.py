import pytest
import torch

from seefar.hf import Sage, calibrate, use_attention
from seefar.hf import sage as part
from seefar.ops.attention import attention
from seefar.ops.int8_attention import int8_attention


@pytest.fixture(scope="module")
def model():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval()


IDS = torch.randint(1, 40, (2, 64), generator=torch.Generator().manual_seed(0))


def test_each_layer_gets_its_kind_and_few_queries_are_exact():
    q, k, v = torch.randn(3, 1, 2, 64, 16, generator=torch.Generator().manual_seed(1))
    sage = Sage({1: "all"})
    assert torch.equal(sage(q, k, v, layer=0), int8_attention(q, k, v, causal=True))
    assert torch.equal(sage(q, k, v, layer=1, scale=0.3), int8_attention(q, k, v, causal=True, scale=0.3, kind="all"))
    assert torch.equal(Sage(smooth=False)(q, k, v), int8_attention(q, k, v, causal=True, smooth=False))
    assert torch.equal(sage(q[:, :, -31:], k, v), attention(q[:, :, -31:], k, v, causal=True))
    assert not torch.equal(sage(q[:, :, -32:], k, v), attention(q[:, :, -32:], k, v, causal=True))


@torch.no_grad()
def test_a_model_says_nearly_the_same_and_generates(model):
    before = model(IDS).logits
    with use_attention(model, Sage()) as attached:
        after = model(IDS).logits
        words = model.generate(IDS, max_new_tokens=3, do_sample=False)
    assert attached.asked == [0, 1] and words.shape == (2, 67)
    assert 0 < (after - before).norm() / before.norm() < 0.01


def test_calibration_keeps_layers_apart_by_their_cosine(model, monkeypatch):
    assert calibrate(model, IDS, bar=0.5).kinds == {0: "all", 1: "all"}
    assert calibrate(model, IDS, bar=1.0).kinds == {0: "qk", 1: "qk"}
    calls, real = [], int8_attention

    def spoilt(q, k, v, **how):
        calls.append(how["kind"])
        return real(q, k, v, **how) * (1 if len(calls) == 1 else torch.linspace(0, 1, q.shape[2])[:, None])

    monkeypatch.setattr(part, "int8_attention", spoilt)
    assert calibrate(model, IDS, bar=0.99).kinds == {0: "all", 1: "qk"} and calls == ["all", "all"]
    torch.testing.assert_close(model(IDS).logits, model(IDS).logits)  # its own attention is back


def test_padded_rows_and_empty_calibrations_are_refused(model):
    seen = torch.ones_like(IDS)
    seen[0, :5] = 0
    with use_attention(model, Sage()), torch.no_grad(), pytest.raises(ValueError, match="give rows without padding"):
        model(IDS, attention_mask=seen)
    with use_attention(model, Sage()), pytest.raises(ValueError, match="has no gradients"):
        model(IDS)
    with pytest.raises(ValueError, match="no layer attended to 32 queries at once"):
        calibrate(model, IDS[:, :8])
    with pytest.raises(ValueError, match=r"a cosine in \(0, 1\], got 1\.5"):
        calibrate(model, IDS, bar=1.5)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        Sage(least=0)
