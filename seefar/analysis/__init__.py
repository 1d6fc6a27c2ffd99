"""Looking inside models: where their attention goes."""

from seefar.analysis.rollout import attention_maps as attention_maps
from seefar.analysis.rollout import centre_of_mass as centre_of_mass
from seefar.analysis.rollout import rollout as rollout
