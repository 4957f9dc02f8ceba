"""Errors a user can act on. Each message is one sentence: what is wrong, where, what to do."""

from __future__ import annotations


class UcbenchError(Exception):
    """Base of every error that the command line prints as one sentence; `exit_code` is its status."""

    exit_code = 2


class UnknownNameError(UcbenchError):
    """A model, track, judge or suite that nobody has heard of."""


class ModelError(UcbenchError):
    """A checkpoint that cannot be loaded or asked."""


class BadImageError(UcbenchError):
    """A picture that cannot be read or is too large; the run goes on with one typed error."""


class StoreError(UcbenchError):
    """A run folder or file that is damaged or cannot be written."""


class AccessError(UcbenchError):
    """Gated or unreachable data."""

    exit_code = 3
