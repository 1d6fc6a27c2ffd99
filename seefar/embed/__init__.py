"""Pixels to tokens that know when and where they were seen."""

from seefar.embed.base import Embed as Embed
from seefar.embed.frame_codes import frame_row as frame_row
from seefar.embed.frame_codes import frames_of as frames_of
from seefar.embed.native import first_fit as first_fit
from seefar.embed.native import fit_tokens as fit_tokens
from seefar.embed.native import images_in as images_in
from seefar.embed.native import pack_images as pack_images
from seefar.embed.native import squash as squash
from seefar.embed.patch import ConvPatches as ConvPatches
from seefar.embed.patch import Patches as Patches
from seefar.embed.quantize import Quantized as Quantized
from seefar.embed.quantize import VectorQuantizer as VectorQuantizer
from seefar.embed.sliding import SlidingPatches as SlidingPatches
from seefar.embed.tubelet import Tubelets as Tubelets
