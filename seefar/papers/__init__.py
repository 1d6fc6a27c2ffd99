"""One short file a paper: a card, the composition of parts it is, and its headline as an experiment.

``seefar paper list``, ``show`` and ``claim`` reach them; how to add one stands in CONTRIBUTING.md.
"""
