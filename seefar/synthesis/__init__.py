"""Pixels out: frames that are still to come."""

from seefar.synthesis.frames import FramePredictor as FramePredictor
