"""Image and video encoders and models of sequences, made of embeds, positions and mixers."""

from seefar.backbones.attention_pool import AttentionPool as AttentionPool
from seefar.backbones.decimated import decimate as decimate
from seefar.backbones.initial import read_prompt as read_prompt
from seefar.backbones.official import class_apart as class_apart
from seefar.backbones.official import load_official as load_official
from seefar.backbones.packed import Packed as Packed
from seefar.backbones.plain import Plain as Plain
from seefar.backbones.pyramid import Level as Level
from seefar.backbones.pyramid import Pyramid as Pyramid
from seefar.backbones.pyramid import strided as strided
from seefar.backbones.resnet import ResNetBlock as ResNetBlock
from seefar.backbones.resnet import ResNetDecoder as ResNetDecoder
from seefar.backbones.resnet import ResNetEncoder as ResNetEncoder
from seefar.backbones.sequence import SequenceModel as SequenceModel
from seefar.backbones.soft import post_norm_column as post_norm_column
from seefar.backbones.soft import soft as soft
from seefar.backbones.vit import vit as vit
