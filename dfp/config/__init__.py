"""Configurations: problems, solvers and tasks from TOML, data from CSV or NPZ."""
