"""Files: solutions as HDF5, problems as TOML, data as CSV or NPZ; whole or not at all."""
