import pytest
import torch
from torch import nn

from seefar.backbones import class_apart, load_official, vit
from seefar.backbones.vit import TRANSFORMERS_NAMES


def _of_transformers() -> nn.Module:
    """A tiny ViT of transformers in which no parameter has a value that hides mistakes."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=12,
        num_hidden_layers=3,
        num_attention_heads=3,
        intermediate_size=48,
        image_size=12,
        patch_size=4,
        num_labels=7,
        layer_norm_eps=1e-6,
    )
    model = ViTForImageClassification(config).eval().double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    return model


def test_weights_of_transformers_give_equal_logits_at_their_size_and_at_others():
    theirs = _of_transformers()
    ours = vit(12, 3, 3, grid=(3, 3), patch=4, classes=7).double()
    weights = class_apart(
        theirs.state_dict(), ours, token="vit.embeddings.cls_token", table="vit.embeddings.position_embeddings"
    )
    load_official(ours, weights, TRANSFORMERS_NAMES)
    for size in ((12, 12), (20, 8)):
        picture = torch.rand(2, 3, *size, dtype=torch.float64)
        with torch.no_grad():
            wanted = theirs(picture, interpolate_pos_encoding=True).logits
            assert wanted.std() > 0.1
            torch.testing.assert_close(ours(picture), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "dim, heads, count", [(192, 3, 5_717_416), (384, 6, 22_050_664), (768, 12, 86_567_656)], ids=["Ti", "S", "B"]
)
def test_the_sizes_of_deit_have_their_published_parameters(dim, heads, count):
    with torch.device("meta"):
        model = vit(dim, 12, heads, grid=(14, 14), classes=1000)
    assert sum(p.numel() for p in model.parameters()) == count


def test_every_backend_of_attention_gives_the_same_logits():
    models = [vit(12, 2, 3, grid=(3, 3), patch=4, classes=5, backend=name).double() for name in ("reference", "sdpa")]
    models[1].load_state_dict(models[0].state_dict())
    picture = torch.rand(1, 3, 12, 12, dtype=torch.float64)
    torch.testing.assert_close(models[1](picture), models[0](picture))
    with pytest.raises(ValueError, match="unknown backend 'flash'"):
        vit(12, 1, 3, grid=(3, 3), patch=4, backend="flash")(picture.float())
