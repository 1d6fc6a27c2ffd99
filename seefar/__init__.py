"""seefar gives vision a long memory."""
