"""The place that a token claims, and the order in which a grid is walked."""

from seefar.positions.absolute import FactorisedGrid as FactorisedGrid
from seefar.positions.absolute import LearnedGrid as LearnedGrid
from seefar.positions.frames import LearnedFrames as LearnedFrames
from seefar.positions.paths import Path as Path
from seefar.positions.paths import cross as cross
from seefar.positions.paths import raster as raster
from seefar.positions.paths import reverse as reverse
from seefar.positions.paths import spatial_first as spatial_first
from seefar.positions.paths import spatiotemporal as spatiotemporal
from seefar.positions.paths import temporal_first as temporal_first
from seefar.positions.rope import Rope as Rope
