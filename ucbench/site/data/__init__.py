"""Where the figures come from: boards, runs and tracks as the pages read them."""
