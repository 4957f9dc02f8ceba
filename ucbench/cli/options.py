"""Options that several commands take, and what commands do alike."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ucbench.errors import StoreError, UcbenchError, UnknownNameError
from ucbench.types import Split

if TYPE_CHECKING:
    from ucbench.record import RunRecord
    from ucbench.runs import Run
    from ucbench.tracks.base import Track

EMBEDDED = "embedded:tiny-vlm"

Out = Annotated[Path, typer.Option("--out", help="The folder that holds your runs.")]
ResultsHere = Annotated[
    Path | None,
    typer.Option(
        "--results",
        envvar="UCBENCH_RESULTS",
        help="Published runs and their board [results/ here, or what came along].",
    ),
]
JudgeName = Annotated[
    str, typer.Option("--judge", help="rules, classifier, classifier:official or llm:MODEL@URL.")
]
Dtype = Annotated[str | None, typer.Option(help="float32, bfloat16, float16 or auto.")]
Device = Annotated[
    str | None, typer.Option(help="cpu, cuda, cuda:1, auto (all GPUs together); found out by default.")
]
Template = Annotated[
    str | None,
    typer.Option(help="Chat template: own (the checkpoint's), llava_v1; as known of the model by default."),
]
Attention = Annotated[
    str | None, typer.Option(help="sdpa, eager, flash_attention_2; as transformers chooses by default.")
]
MaxPixels = Annotated[
    int | None, typer.Option("--max-pixels", min=1, help="Pictures are scaled down to so many pixels.")
]
Guard = Annotated[
    str | None,
    typer.Option(
        "--guard",
        help="The format of a guard model: llama-guard-4, ...; none asks it like any other model. As known "
        "of the model, or told by the checkpoint, by default.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data", help="The track's data: a folder, a file or a Hub id (owner/name, owner/name@commit)."
    ),
]
Metadata = Annotated[
    Path | None, typer.Option("--metadata", help="metadata.jsonl: category and concept of each image.")
]
PerceptionMetadata = Annotated[
    Path | None,
    typer.Option("--perception-metadata", help="perception_metadata.jsonl: the official options."),
]
Questions = Annotated[
    Path | None, typer.Option("--questions", help="A file of contextual questions, instead of our own.")
]
SafeData = Annotated[
    str | None, typer.Option("--safe-data", help="Safe images beside the unsafe ones: folder, file, Hub id.")
]
Stream = Annotated[
    bool,
    typer.Option(
        "--stream", help="Read data on the Hub as it is asked for; no copy of it stays on this machine."
    ),
]
AllowIncomplete = Annotated[
    bool,
    typer.Option("--allow-incomplete", help="Take data whose counts differ from the published ones."),
]
#: Addresses of `ucbench.hub.store.open_store`.
StoreAddress = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="UCBENCH_STORE",
        help="Where the queue is: a folder, or hf://datasets/OWNER/NAME.",
    ),
]
ResultsAddress = Annotated[
    str | None,
    typer.Option(
        "--results",
        envvar="UCBENCH_RESULTS_STORE",
        help="Where published runs go: a folder, or hf://datasets/OWNER/NAME; to --store by default.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
RunName = Annotated[str, typer.Argument(help="A run folder, or the beginning of a run id within --out.")]


def check_text(option: str, text: str | None) -> None:
    """Refuse a text that cannot be written down. Raises `UcbenchError`."""
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UcbenchError(f"{option} is not valid UTF-8 text; write it in UTF-8") from error


def check_place(out: Path) -> None:
    """Refuse an --out at or below a file, before anything is computed. Raises `StoreError`."""
    for path in (out, *out.parents):
        try:
            blocked = path.exists() and not path.is_dir()
        except OSError as error:  # no possible path
            raise StoreError(
                f"cannot write {out}: {error.strerror}; choose another folder with --out"
            ) from error
        if blocked:
            raise StoreError(f"cannot write {out}: {path} is a file; choose another folder with --out")


def check_hardware(dtype: str | None, device: str | None) -> None:
    """Refuse a --dtype or --device that there is nowhere; torch is not needed for that.

    Raises `UnknownNameError`.
    """
    from ucbench.models.loading import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise UnknownNameError(f"{dtype!r} is no dtype; use one of {', '.join(DTYPES)}")
    if device is not None and not re.fullmatch(r"auto|mps|(cpu|cuda)(:\d+)?", device):
        raise UnknownNameError(f"{device!r} is no device; use cpu, cuda, cuda:0 or auto")


def look_for_data(track: Track, *, quiet: bool = False) -> None:
    """Read the track's data before any model is loaded, and say what is special about it.

    Raises `AccessError` for data out of reach, `UcbenchError` for data that does not fit.
    """
    _ = track.version
    if (notice := getattr(track, "notice", None)) and not quiet:
        print(f"{track.id}: {notice}", file=sys.stderr)


@contextmanager
def resumable(how: str = "the same command goes on from here") -> Iterator[None]:
    """Ctrl+C ends the command with one line that says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nstopped; {how}", file=sys.stderr)
        raise typer.Exit(130) from None


def with_answers(run: Run) -> RunRecord:
    """The record of a run whose answers can be judged."""
    record = run.record()
    if record.provenance == "reported":
        raise StoreError(f"{run.folder} holds figures reported by others; there are no answers to judge")
    return record


def split_of(name: str | None) -> Split | None:
    """The split of that name; None stands for the one that fits track and entry. Raises `UcbenchError`."""
    if name is None:
        return None
    known: tuple[Split, ...] = get_args(Split)
    for split in known:
        if split == name:
            return split
    raise UcbenchError(f"there is no split {name!r}; --split takes {', '.join(known)}")
