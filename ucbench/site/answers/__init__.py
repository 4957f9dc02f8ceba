"""The answers behind the scores."""
