"""Recordings of brains, and models that predict them."""

from seefar.brain.behaviour import BehaviourMLP as BehaviourMLP
from seefar.brain.cores import AttentionCore as AttentionCore
from seefar.brain.cores import ConvCore as ConvCore
from seefar.brain.cores import full_width_attention as full_width_attention
from seefar.brain.encoder import NeuralEncoder as NeuralEncoder
from seefar.brain.readout import GaussianReadout as GaussianReadout
from seefar.brain.recording import Recording as Recording
from seefar.brain.shifter import Shifter as Shifter
