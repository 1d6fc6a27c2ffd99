"""Generating text without training: rules for choosing the next word that work on a bare Hugging Face model."""

from seefar.decoding.contrast import ContrastiveDecoder as ContrastiveDecoder
from seefar.decoding.views import diffusion_noise as diffusion_noise
from seefar.decoding.views import kept_share as kept_share
from seefar.decoding.views import text_only as text_only
