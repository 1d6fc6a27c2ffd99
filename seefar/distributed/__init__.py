"""Sequence parallelism on torch.distributed: every rank holds a piece of it, and bytes are counted."""

from seefar.distributed.key_gather import gathered_attention as gathered_attention
from seefar.distributed.launch import on_ranks as on_ranks
from seefar.distributed.ranks import Ranks as Ranks
from seefar.distributed.ranks import Traffic as Traffic
from seefar.distributed.state_gather import state_attention as state_attention
