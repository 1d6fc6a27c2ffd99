"""Parts that work inside bare models of transformers, through its public interfaces alone."""

from seefar.hf.attention import AttachedAttention as AttachedAttention
from seefar.hf.attention import use_attention as use_attention
from seefar.hf.hip import HiP as HiP
