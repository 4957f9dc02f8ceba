"""The worker: claims requests, evaluates them in a child that can harm nobody, publishes what holds."""
