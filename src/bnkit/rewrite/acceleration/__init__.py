"""Torch's layers swapped for bnkit's, activations fused into them, and the proof."""
