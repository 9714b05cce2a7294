"""Markov chains between cells: their generators, evolution in time, and stationary probabilities."""
