"""Four methods for the master equation (T4) behind one name, `Transfer`, and the choice among them."""
