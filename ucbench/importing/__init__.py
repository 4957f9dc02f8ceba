"""Answers that were given elsewhere: read from files, matched to a track's questions, scored like any run."""
