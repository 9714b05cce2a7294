"""Long times: stationary laws and moments, relaxation, first passage, currents, and what is observed there."""
