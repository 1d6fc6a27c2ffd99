"""Image and video encoders, made of embeds, positions and mixers."""

from seefar.backbones.official import class_apart as class_apart
from seefar.backbones.official import load_official as load_official
from seefar.backbones.plain import Plain as Plain
from seefar.backbones.vit import vit as vit
