"""The driver: the only loop, the choice of a solver, and refinement to a tolerance."""
