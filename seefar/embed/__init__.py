"""Pixels to tokens that know when and where they were seen."""

from seefar.embed.base import Embed as Embed
from seefar.embed.patch import ConvPatches as ConvPatches
from seefar.embed.patch import Patches as Patches
from seefar.embed.tubelet import Tubelets as Tubelets
