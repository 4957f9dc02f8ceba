"""The page Try a model: a visitor asks a model about a picture, and sees how the answers are read."""
