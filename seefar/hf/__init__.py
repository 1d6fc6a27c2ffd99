"""Parts that work inside bare models of transformers, through its public interfaces alone."""

from seefar.hf.attention import AttachedAttention as AttachedAttention
from seefar.hf.attention import use_attention as use_attention
from seefar.hf.cross_attention import AttachedCrossAttention as AttachedCrossAttention
from seefar.hf.cross_attention import use_cross_attention as use_cross_attention
from seefar.hf.hip import HiP as HiP
from seefar.hf.initial import AttachedInitial as AttachedInitial
from seefar.hf.initial import attend_to_initial as attend_to_initial
from seefar.hf.sage import Sage as Sage
from seefar.hf.sage import calibrate as calibrate
from seefar.hf.windows import Window as Window
from seefar.hf.windows import states_in_windows as states_in_windows
from seefar.hf.windows import windows as windows
