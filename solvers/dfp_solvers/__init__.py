"""Numerical kernels of dfp: arrays in, arrays out. One file per method; nothing here imports ``dfp``."""
