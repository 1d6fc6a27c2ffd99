"""Sequence parallelism on torch.distributed: every rank holds a piece of it, and bytes are counted."""

from seefar.distributed.head_blocks import distributed_mha as distributed_mha
from seefar.distributed.key_gather import gathered_attention as gathered_attention
from seefar.distributed.launch import on_ranks as on_ranks
from seefar.distributed.layout import Contiguous as Contiguous
from seefar.distributed.layout import Striped as Striped
from seefar.distributed.layout import Zigzag as Zigzag
from seefar.distributed.layout import collect as collect
from seefar.distributed.layout import deal as deal
from seefar.distributed.lost import RankLost as RankLost
from seefar.distributed.ranks import Ranks as Ranks
from seefar.distributed.ranks import Traffic as Traffic
from seefar.distributed.ring_attention import ring_attention as ring_attention
from seefar.distributed.ring_self_attention import ring_self_attention as ring_self_attention
from seefar.distributed.state_gather import state_attention as state_attention
