"""Tracks by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ucbench.errors import UcbenchError, UnknownNameError
from ucbench.tracks.base import Track
from ucbench.tracks.sources import Sources, option


@dataclass(frozen=True, slots=True)
class Row:
    """A track that can be loaded.

    `make` reads no data; `takes` names the fields of `Sources` that it uses. `needs_data` says that its
    pictures come from files or the Hub: then `version` and `samples` look for them, and only they do.
    """

    make: Callable[[Sources], Track]
    summary: str
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
    if sources.data is None and sources.metadata is None and sources.safe_data is None:
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
    "pictograms": Row(_pictograms, "abstract emblems, drawn here", needs_data=False),
    "unsafeconcepts": Row(
        _unsafeconcepts,
        "the official benchmark: 1,567 pictures of 75 unsafe concepts (gated)",
        frozenset({"data", "metadata", "perception_metadata", "safe_data", "allow_incomplete"}),
    ),
    "contexts": Row(
        _contexts,
        "acceptable and unacceptable uses of a picture; of pictograms, or of official data",
        frozenset({"data", "metadata", "questions", "allow_incomplete"}),
        needs_data=False,
    ),
    "polarity": Row(
        _polarity,
        "the five questions and the same turned round; about pictograms, or official data",
        frozenset({"data", "metadata", "safe_data", "allow_incomplete"}),
        needs_data=False,
    ),
    "safe": Row(_safe, "harmless pictures, one of each ImageNet class: over-refusal", _DATA),
    "smid": Row(_smid, "pictures from elsewhere, labelled safe and unsafe (SMID)", _DATA),
    "nsfw": Row(_nsfw, "pictures from elsewhere, labelled safe and unsafe (NSFW)", _DATA),
    "mme": Row(_mme, "general ability: yes/no questions about pictures", _DATA),
    "llavabench": Row(_llavabench, "general ability: open questions, rated by a judge model", _DATA),
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
