"""Bounded stores over an endless stream, with write and read."""

from seefar.memory.bank import AdjacentMerge as AdjacentMerge
from seefar.memory.bank import Bank as Bank
from seefar.memory.bank import Fifo as Fifo
from seefar.memory.base import Memory as Memory
from seefar.memory.shortlist import Shortlist as Shortlist
