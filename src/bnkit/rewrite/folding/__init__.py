"""Batch norms folded into the layers beside them: which pairs, how, and the proof."""
