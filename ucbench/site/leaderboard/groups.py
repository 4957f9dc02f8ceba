"""Which rows of the leaderboard were asked the same: only those may be set side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ucbench.board import JOINED_ASKED
from ucbench.format import absent
from ucbench.site.columns import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LONE = "reported"
Asked = tuple[Any, ...]


def asked(row: Row, track: str) -> Asked:
    """What a row was asked on a track: version, split, draw and judge, and the version of its safe images.

    None stands for what is not told.
    """
    told: dict[str, Any] = {}
    if isinstance(row.get(JOINED_ASKED), str):
        told = json.loads(row[JOINED_ASKED])
    own: list[Any] = [row.get("track_version"), row.get("split"), row.get("draw") or 0, row.get("judge")]
    if row.get("track") != track:
        own = told.get(track) or [None] * 4
    safe = (told.get("safe") or [None])[0] if row.get("track") == track else None
    return (*own, safe)


def groups(rows: Sequence[Row], track: str) -> tuple[tuple[str, ...], NDArray[np.intp]]:
    """Names of the sets of rows that were asked the same, the main one first; the set of each row.

    The main one is the set with most ranked rows, then with most rows, then the latest version.
    """
    import numpy as np

    keys: list[Asked] = [
        (LONE,) if row.get("provenance") == "reported" else asked(row, track) for row in rows
    ]
    counted = Counter(keys)
    ranked = Counter(key for key, row in zip(keys, rows, strict=True) if not absent(row.get("rank_low")))

    def weight(key: Asked) -> tuple[bool, int, int, str]:
        return key != (LONE,), ranked[key], counted[key], str(key)

    order = sorted(counted, key=weight, reverse=True)
    if not order:
        return (), np.zeros(0, np.intp)
    main = order[0]
    if main == (LONE,):  # nothing else is here to compare them with
        return ("",), np.zeros(len(rows), np.intp)
    # What is not told of a row sets it apart from nobody.
    place = {key: 0 if key != (LONE,) and _fits(key, main) else -1 for key in order}
    apart = [key for key in order if place[key]]
    place |= {key: n for n, key in enumerate(apart, start=1)}
    names = ("", *(_difference(key, main) for key in apart))
    return names, np.array([place[key] for key in keys], np.intp)


def _fits(key: Asked, main: Asked) -> bool:
    return len(key) == len(main) and all(
        mine is None or other is None or mine == other for mine, other in zip(key, main, strict=True)
    )


def _difference(key: Asked, main: Asked) -> str:
    """How a set of rows was asked otherwise than the main one."""
    if key == (LONE,):
        return "Reported in a paper, asked and read there: not comparable with the rows above"
    words = (
        "version {} of the track", "the {} split", "fresh draw {} of the pictures", "read by the judge {}",
        "version {} of the harmless pictures",
    )  # fmt: skip
    parts = []
    for place, (word, mine) in enumerate(zip(words, key, strict=True)):
        other = main[place] if len(main) == len(key) else None
        if mine is None or mine == other or (place == 2 and not mine):
            continue
        parts.append("all splits" if (place, mine) == (1, "all") else word.format(mine))
    return f"Asked otherwise ({', '.join(parts)}): not comparable with the rows above"
