"""Batch norms turned into other layers, taken out, and put in."""
