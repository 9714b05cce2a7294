"""Adapters from equations to the numerics in ``dfp_solvers``: one file per solver."""
