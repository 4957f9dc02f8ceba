"""Submissions, and what became of them."""
