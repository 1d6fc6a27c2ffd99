"""Token mixers: parts that carry information along N, whole or as a stream."""

from seefar.mixers.base import Mixer as Mixer
from seefar.mixers.block import Block as Block
from seefar.mixers.block import Stack as Stack
from seefar.mixers.gated_recurrence import GatedRecurrence as GatedRecurrence
from seefar.mixers.gated_recurrence import GatedRecurrenceState as GatedRecurrenceState
from seefar.mixers.scan import Scan as Scan
from seefar.mixers.selective import Mamba as Mamba
from seefar.mixers.selective import MambaState as MambaState
from seefar.mixers.softmax import Attention as Attention
from seefar.mixers.softmax import AttentionState as AttentionState
