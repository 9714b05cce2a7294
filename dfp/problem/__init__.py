"""What is solved: landscapes and the laws of their noise, SGD, equations, states and grids (T1 to T7)."""
