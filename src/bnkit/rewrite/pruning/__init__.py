"""Channels removed: which belong together, which go, and the proof."""
