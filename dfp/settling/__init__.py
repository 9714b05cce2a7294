"""Settling: stationary laws and their moments, how fast they are reached, and how long it takes to leave a box."""
