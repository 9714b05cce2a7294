"""What closes exactly: moments of every equation, with any optimiser, and cumulants of a step; no densities."""
