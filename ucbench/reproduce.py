"""A record -> the command that makes the run again: every option that is part of the run's identity.

What a record cannot know stands in capitals (the address of a service, a folder of pictures), and `needs`
says in sentences what it stands for.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

from ucbench.models import known, registry
from ucbench.record import Entry, RunRecord, TrackRef
from ucbench.tracks import registry as tracks

_HUB_PICTURES = re.compile(r"-hub-([0-9a-f]{12})")
#: Tracks whose data nobody may pass on: whoever asks them has it.
_GIVEN = ("mme", "llavabench")


@dataclass(frozen=True, slots=True)
class Reproduction:
    """One command line, and what must be there for it; no command for figures that others report."""

    command: str = ""
    needs: tuple[str, ...] = ()


def reproduction(record: RunRecord) -> Reproduction:
    """How to make a run again."""
    if record.provenance == "reported":
        return Reproduction()
    needs: list[str] = []
    if record.provenance == "imported" or record.engine.path == "saved":
        words = ["ucbench", "import-answers", "answers.parquet", "--model", record.entry.model]
        needs.append("answers.parquet is the file of this run; its answers were given elsewhere.")
        options = _imported(record)
    else:
        words = ["ucbench", "evaluate", *_model(record.entry, needs)]
        options = _identity(record.entry)
    words += [*_track(record.track, needs), *options, *_judge(record, needs)]
    needs.append(_code(record))
    return Reproduction(shlex.join(words), tuple(needs))


def _model(entry: Entry, needs: list[str]) -> list[str]:
    """What is asked: a service, an adapter, a model of the Hub, a folder, or the one that comes with us."""
    kind, _, rest = entry.model.partition(":")
    if kind == "endpoint":
        needs.append(f"URL is the address, ending in /v1, of a server that serves {rest}.")
        if entry.revision:
            needs.append(f"The server then called its model {entry.revision}.")
        return ["--endpoint", "URL", "--model", rest]
    if kind == "provider":
        provider, _, name = rest.partition(":")
        if entry.revision:
            needs.append(f"The provider then called its model {entry.revision}.")
        return ["--provider", provider, "--model", name]
    if entry.adapter:
        name, _, version = entry.adapter.rpartition("@")
        needs.append(f"The adapter's base is {entry.model} at {entry.revision}.")
    else:
        name, version = entry.model, entry.revision or ""
    if name in registry.EMBEDDED:
        needs.append(f"The model comes with ucbench; the digest of its files was {version}.")
        return [name]
    if name.startswith("local:"):
        folder = name.removeprefix("local:")
        what = "the adapter" if entry.adapter else "the model"
        needs.append(f"./{folder} is the folder of {what}, whose digest was {version}.")
        return [f"./{folder}"]
    return [name, "--revision", version] if version else [name]


def _identity(entry: Entry) -> list[str]:
    """Options of the entry. What a known model would get by itself is told where it did not get it."""
    service = entry.model.startswith(("endpoint:", "provider:"))
    row = known.find(entry.model)
    template = entry.template or ("own" if row and row.template and not service else None)
    guard = entry.guard.partition("@")[0] if entry.guard else ("none" if row and row.guard else None)
    return [
        *_option("--dtype", entry.dtype),
        *_decoding(entry),
        *_option("--system-prompt", entry.system_prompt),
        *_option("--template", template),
        *_option("--attention", entry.attention),
        *_option("--max-pixels", entry.max_pixels),
        *_option("--guard", guard),
    ]


def _decoding(entry: Entry) -> list[str]:
    decoding = entry.decoding
    return [
        *_option("--temperature", f"{decoding.temperature:g}"),
        *_option("--top-p", f"{decoding.top_p:g}" if decoding.top_p != 1 else None),
        *_option("--max-new-tokens", decoding.max_new_tokens),
        *_option("--seed", decoding.seed or None),
    ]


def _imported(record: RunRecord) -> list[str]:
    entry = record.entry
    return [
        *_option("--dtype", entry.dtype),
        *_decoding(entry),
        *_option("--system-prompt", entry.system_prompt),
        *(word for items in entry.trained_on for word in ("--trained-on", _track_and_split(items))),
        *_option("--source", record.source),
    ]


def _track_and_split(items: str) -> str:
    """As `--trained-on` takes it: `pictograms/1/train` is `pictograms/train`."""
    return f"{items.partition('/')[0]}/{items.rpartition('/')[2]}"


def _track(track: TrackRef, needs: list[str]) -> list[str]:
    version, data = track.version, []
    known_here = track.id in tracks.names()
    on_official = track.id == "unsafeconcepts" or "-unsafeconcepts-" in version
    if on_official and (commit := _HUB_PICTURES.search(version)):
        needs.append(f"The pictures were those of yiting/UnsafeConcepts on the Hub at commit {commit[1]}.")
    elif on_official and "-files-" in version:
        data += ["--data", "PICTURES"]
        needs.append("PICTURES is the folder, file or Hub id of the official pictures.")
    elif track.id in _GIVEN:
        data += ["--data", "DATA"]
        needs.append(f"DATA is the file of {track.id}, which cannot be passed on.")
    if on_official and "official-options" in version:
        data += ["--perception-metadata", "perception_metadata.jsonl"]
    if "-with-safe" in version:
        data += ["--safe-data", "SAFE"]
        needs.append("SAFE is the folder, file or Hub id of the safe pictures beside them.")
    if "-incomplete" in version:
        data.append("--allow-incomplete")
    if version.startswith("questions."):
        data += ["--questions", "QUESTIONS"]
        needs.append("QUESTIONS is the file of contextual questions.")
    if not known_here or tracks.row(track.id).needs_data or on_official:
        needs.append(f"The track's version names what was asked: {version}.")
    return [
        *_option("--track", track.id),
        *data,
        *_option("--split", track.split),
        *_option("--draw", track.draw or None),
        *_option("--limit", track.limit),
    ]


def _judge(record: RunRecord, needs: list[str]) -> list[str]:
    judge = record.judge
    if judge is None:
        return []
    name = judge.name
    if name.startswith(("llm:", "rating:")):
        needs.append(f"URL behind the judge is the address of a server that serves {name.partition(':')[2]}.")
        name = f"{name}@URL"
    elif name == "classifier:official" and judge.revision:
        name = f"{name}@{judge.revision}"
    elif name.startswith("classifier:") and name != "classifier:official":
        needs.append(f"The judge {judge.id} was read from files on the machine of whoever ran it.")
    return ["--judge", name]


def _code(record: RunRecord) -> str:
    at = f" at commit {record.code_revision}" if record.code_revision else ""
    return f"It was run by ucbench {record.code_version}{at}."


def _option(name: str, value: object) -> list[str]:
    return [] if value in (None, "") else [name, str(value)]
