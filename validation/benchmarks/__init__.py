"""Speed, measured against the alternatives in the same run."""
