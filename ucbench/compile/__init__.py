"""Compiling a dataset: candidates by CLIP, votes of annotators, metadata in the official layout."""
