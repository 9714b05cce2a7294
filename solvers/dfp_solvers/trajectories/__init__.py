"""Monte Carlo: models of a step, kernels that run many trajectories in lock-step, and the sums they leave."""
