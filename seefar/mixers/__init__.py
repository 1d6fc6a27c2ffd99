"""Token mixers: parts that carry information along N, whole or as a stream."""

from seefar.mixers.base import Mixer as Mixer
from seefar.mixers.bidirectional import BidirectionalMamba as BidirectionalMamba
from seefar.mixers.block import Block as Block
from seefar.mixers.block import Stack as Stack
from seefar.mixers.diagonal import Diagonal as Diagonal
from seefar.mixers.dplr import DPLR as DPLR
from seefar.mixers.dplr import StateSpaceState as StateSpaceState
from seefar.mixers.gated_recurrence import GatedRecurrence as GatedRecurrence
from seefar.mixers.gated_recurrence import GatedRecurrenceState as GatedRecurrenceState
from seefar.mixers.s4 import S4 as S4
from seefar.mixers.s4 import S4D as S4D
from seefar.mixers.scan import Scan as Scan
from seefar.mixers.selective import Mamba as Mamba
from seefar.mixers.selective import MambaState as MambaState
from seefar.mixers.softmax import Attention as Attention
from seefar.mixers.softmax import AttentionState as AttentionState
