"""Regimes: the modes of SGD, the numbers that decide how each behaves, and phase diagrams of them (theory page, 4)."""
