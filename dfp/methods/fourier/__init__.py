"""Four methods for linear dynamics with additive noise behind one name, `Fourier`, and the choice among them."""
