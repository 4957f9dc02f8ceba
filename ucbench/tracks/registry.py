"""Tracks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.tracks.base import Track
from ucbench.tracks.sources import Sources, option


@dataclass(frozen=True, slots=True)
class Row:
    """A track that can be loaded; what it asks is told in `ucbench.tracks.about`.

    `make` reads no data; `takes` names the fields of `Sources` that it uses. `needs_data` says that its
    pictures come from files or the Hub: then `version` and `samples` look for them, and only they do.
    """

    make: Callable[[Sources], Track]
    takes: frozenset[str] = frozenset()
    needs_data: bool = True


def _pictograms(_sources: Sources) -> Track:
    from ucbench.tracks.pictograms import Pictograms

    return Pictograms()


def _unsafeconcepts(sources: Sources) -> Track:
    from ucbench.tracks.unsafeconcepts.track import UnsafeConcepts

    return UnsafeConcepts(sources)


def _contexts(sources: Sources) -> Track:
    from ucbench.tracks.contexts import Contexts

    return Contexts(_pictures(sources), sources.questions, allow_incomplete=sources.allow_incomplete)


def _polarity(sources: Sources) -> Track:
    from ucbench.tracks.polarity import Polarity

    return Polarity(_pictures(sources))


def _pictures(sources: Sources) -> Track:
    """The official pictures where the user points at data, else the pictograms."""
    named = (sources.data, sources.metadata, sources.safe_data)
    if not (any(source is not None for source in named) or sources.stream):
        return load("pictograms")
    return load("unsafeconcepts", replace(sources, questions=None))


def _safe(sources: Sources) -> Track:
    from ucbench.tracks.safe import make

    return make(sources)


def _smid(sources: Sources) -> Track:
    from ucbench.tracks.out_of_domain import make_smid

    return make_smid(sources)


def _nsfw(sources: Sources) -> Track:
    from ucbench.tracks.out_of_domain import make_nsfw

    return make_nsfw(sources)


def _mme(sources: Sources) -> Track:
    from ucbench.tracks.general.mme import make

    return make(sources)


def _llavabench(sources: Sources) -> Track:
    from ucbench.tracks.general.llavabench import make

    return make(sources)


_DATA = frozenset({"data"})
_TRACKS: dict[str, Row] = {
    "pictograms": Row(_pictograms, needs_data=False),
    "unsafeconcepts": Row(
        _unsafeconcepts,
        frozenset({"data", "metadata", "perception_metadata", "safe_data", "allow_incomplete", "stream"}),
    ),
    "contexts": Row(
        _contexts,
        frozenset({"data", "metadata", "questions", "allow_incomplete", "stream"}),
        needs_data=False,
    ),
    "polarity": Row(
        _polarity,
        frozenset({"data", "metadata", "safe_data", "allow_incomplete", "stream"}),
        needs_data=False,
    ),
    "safe": Row(_safe, _DATA | {"stream"}),
    "smid": Row(_smid, _DATA),
    "nsfw": Row(_nsfw, _DATA),
    "mme": Row(_mme, _DATA),
    "llavabench": Row(_llavabench, _DATA),
}


def names() -> list[str]:
    """The known tracks, in the order they are shown."""
    return list(_TRACKS)


def row(name: str) -> Row:
    """What is known of a track without loading it. Raises `UnknownNameError`."""
    try:
        return _TRACKS[name]
    except KeyError:
        raise UnknownNameError(f"unknown track {name!r}; known tracks: {', '.join(names())}") from None


def load(name: str, sources: Sources | None = None) -> Track:
    """The track of that name over the given data.

    Nothing is opened yet, and `id`, `splits`, `categories` and `subsets` never need the data: stored answers
    can be judged and scored without it. Nor do `concepts`, but where the data itself names them (`safe`,
    `mme`, `llavabench`). Raises `UnknownNameError`, or `UcbenchError` for a source that the track has no use
    for.
    """
    known = row(name)
    sources = sources or Sources()
    unused = [field for field in sources.given() if field not in known.takes]
    if unused:
        takes = ", ".join(option(field) for field in sorted(known.takes)) or "no such option"
        raise UcbenchError(
            f"track {name} has no use for {option(unused[0])}; leave it out (it takes {takes})"
        )
    return known.make(sources)
