"""Cards: what a reader of the Hub sees of a model or a dataset that was published."""
