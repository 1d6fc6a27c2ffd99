"""Bounded stores over an endless stream, with write and read."""

from seefar.memory.bank import AdjacentMerge as AdjacentMerge
from seefar.memory.bank import Bank as Bank
from seefar.memory.bank import Fifo as Fifo
from seefar.memory.base import Memory as Memory
from seefar.memory.inverted import Inverted as Inverted
from seefar.memory.shortlist import Shortlist as Shortlist
from seefar.memory.unlimiformer import Unlimiformer as Unlimiformer
from seefar.memory.vector_index import Found as Found
from seefar.memory.vector_index import VectorIndex as VectorIndex
