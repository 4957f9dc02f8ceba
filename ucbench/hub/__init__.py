"""Publishing: the store (a folder or a dataset repository of the Hub), the queue, workers, cards."""
