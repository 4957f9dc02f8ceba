"""How scores are computed, with examples."""
