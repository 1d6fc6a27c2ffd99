"""Looking inside models: where their attention goes, what their states hold."""

from seefar.analysis.capacity import attention_rank as attention_rank
from seefar.analysis.capacity import memorisation_line as memorisation_line
from seefar.analysis.coding import coding_matrix as coding_matrix
from seefar.analysis.coding import decode as decode
from seefar.analysis.collisions import doubles_collide as doubles_collide
from seefar.analysis.hidden_attention import hidden_attention as hidden_attention
from seefar.analysis.hidden_attention import mean_distance as mean_distance
from seefar.analysis.mixing_matrix import Mixing as Mixing
from seefar.analysis.mixing_matrix import Path as Path
from seefar.analysis.mixing_matrix import mixing_matrix as mixing_matrix
from seefar.analysis.mixing_table import mixing_table as mixing_table
from seefar.analysis.rollout import attention_maps as attention_maps
from seefar.analysis.rollout import centre_of_mass as centre_of_mass
from seefar.analysis.rollout import rollout as rollout
from seefar.analysis.selective_bound import generalization_bound as generalization_bound
