"""What tracks over given pictures do alike: no fresh draws, and limits that are spread."""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.errors import UcbenchError


class Given:
    """What such tracks say of themselves."""

    @property
    def subsets(self) -> dict[str, frozenset[str]]:
        """None."""
        return {}

    @property
    def fresh_draws(self) -> bool:
        """There are the given pictures and no others."""
        return False


def check_asked(track: str, draw: int, limit: int | None) -> None:
    """Raises `UcbenchError` for a draw or limit that a track of given pictures has not."""
    if draw != 0:
        raise UcbenchError(
            f"track {track} has the pictures it was given and no fresh draws; leave --draw at 0"
        )
    if limit is not None and limit < 1:
        raise UcbenchError(f"a limit of {limit} samples leaves nothing to ask; use 1 or more")


def evenly(rows: Sequence[int], limit: int | None) -> list[int]:
    """`limit` of the rows at even distances, in their order; all of them without a limit."""
    if limit is None or limit >= len(rows):
        return list(rows)
    return [rows[i * len(rows) // limit] for i in range(limit)]
