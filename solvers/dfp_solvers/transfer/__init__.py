"""Transition matrices of the master equation (T4): on graded nodes, by characteristic functions, on uniform cells."""
