"""Boosted trees of other libraries, from the formats in which these keep them; a library in each file."""
