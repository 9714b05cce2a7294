"""Laws of the noise: Gaussian, of a finite sum of samples, or additive of any distribution (T2, T13)."""
