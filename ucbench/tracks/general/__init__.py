"""General ability: MME and LLaVABench."""
