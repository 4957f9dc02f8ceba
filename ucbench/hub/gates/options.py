"""Are the track and the dtype there to be asked for?"""

from __future__ import annotations

from ucbench.hub.gates.base import Refused, quoted

DTYPES = ("bfloat16", "float16", "float32")
#: As the checkpoint says; the request names what that is.
OWN = "auto"


def look(track: str, dtype: str | None) -> str:
    """The gate."""
    from ucbench.tracks import registry

    if track not in registry.names():
        raise Refused(f"there is no track {quoted(track)}", f"take one of {', '.join(registry.names())}")
    if dtype not in (None, OWN, *DTYPES):
        raise Refused(f"there is no dtype {quoted(dtype)}", f"take one of {', '.join((OWN, *DTYPES))}")
    return f"track {track}, {'the dtype of the checkpoint' if dtype in (None, OWN) else dtype}"
