"""The alternatives, each a script of its own that imports NumPy, the library and the workloads."""
