"""Escape from wells: paths that cost least, and how long it takes to leave a domain, however rare it is."""
