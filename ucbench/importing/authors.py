"""The layout in which the benchmark's authors save answers.

    <model>/<capability>/response_prompt_<i>.json

A file is a JSON array, or JSON lines, of rows `prompt`, `image_fname`, `output`. Rows do not say which
concept they are about, and their order differs between files, so they are matched by what they hold.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucbench.errors import UcbenchError

CAPABILITIES = ("perception", "alignment", "alignment_text_only")
_FILE = re.compile(r"response_prompt_(\d+)\.jsonl?")
_LAYOUT = "<model>/<capability>/response_prompt_<i>.json"


@dataclass(frozen=True, slots=True)
class Row:
    """A saved answer as its file holds it. `place` is `file:row`, for people; `text` "" is a failed answer.

    Rows are counted from 1; of JSON lines, the row is the line.
    """

    place: str
    prompt: str
    image: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Saved:
    """All rows of one model, in the order of the files, and the files in its folder that were not read."""

    rows: list[Row]
    not_read: tuple[str, ...]


def read(folder: Path, model: str) -> Saved:
    """Read the answers of `model` from its own folder or from the folder above it.

    Raises `UcbenchError` for a folder without the layout, one of models none of which is called `model`, and
    a file that is broken (with its row, or the line of a broken text). Places are told from the model's
    folder on, as paths are private.
    """
    own = _own_folder(folder, model)
    files = sorted(_answer_files(own))
    rows = [row for *_, path in files for row in _rows(path, path.relative_to(own).as_posix())]
    if not rows:
        raise UcbenchError(f"the answer files in {own} hold no answers")
    read_ones = {path for *_, path in files}
    others = sorted(
        path.relative_to(own).as_posix()
        for path in own.rglob("*")
        if path.is_file() and path not in read_ones and not path.name.startswith(".")
    )
    return Saved(rows, tuple(others))


def _own_folder(folder: Path, model: str) -> Path:
    if not folder.is_dir():
        raise UcbenchError(f"there is no folder {folder}; give the folder of saved answers")
    if any(_answer_files(folder)):
        return folder
    found = sorted(path for path in folder.iterdir() if path.is_dir() and any(_answer_files(path)))
    if not found:
        raise UcbenchError(
            f"{folder} holds no saved answers: files {_LAYOUT} with one of the capabilities "
            f"{', '.join(CAPABILITIES)} are wanted there"
        )
    wanted = model.rpartition("/")[2]
    for path in found:
        if path.name == wanted:
            return path
    raise UcbenchError(
        f"{folder} holds the answers of {_some([path.name for path in found])}, and none is called {wanted}; "
        f"name one of these with --model, or give the model's own folder, such as {found[0]}"
    )


def _answer_files(folder: Path) -> Iterator[tuple[int, int, Path]]:
    """(place of the capability, number of the prompt, path), to be sorted by."""
    for order, capability in enumerate(CAPABILITIES):
        if (folder / capability).is_dir():
            for path in (folder / capability).iterdir():
                if path.is_file() and (match := _FILE.fullmatch(path.name)):
                    yield order, int(match[1]), path


def _rows(path: Path, name: str) -> Iterator[Row]:
    for where, value in _values(path):
        place = f"{name}:{where}"
        if not isinstance(value, dict):
            raise UcbenchError(f"{place} is no object with prompt, image_fname and output")
        prompt, image, text = (value.get(name) for name in ("prompt", "image_fname", "output"))
        if not isinstance(prompt, str) or not prompt.strip():
            raise UcbenchError(f"{place} has no prompt, by which answers are matched to questions")
        for field, content in (("image_fname", image), ("output", text)):
            if content is not None and not isinstance(content, str):
                raise UcbenchError(f"{place} has an {field} that is no text but {type(content).__name__}")
        yield Row(place, prompt, image or None, text or "")


def _values(path: Path) -> Iterator[tuple[int, Any]]:
    """(row, value) of an array or of JSON lines."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UcbenchError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise UcbenchError(f"{path}:{line} is not UTF-8 text; save the file in UTF-8") from error
    if text.lstrip().startswith("["):
        for number, value in enumerate(_load(text, path, 1), start=1):
            yield number, value
        return
    for number, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            yield number, _load(content, path, number)


def _load(text: str, path: Path, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = line + error.lineno - 1
        raise UcbenchError(f"{path}:{where} is broken JSON ({error.msg}); mend or fetch it again") from error
    except RecursionError as error:
        raise UcbenchError(f"{path}:{line} is nested too deeply to hold answers") from error


def _some(names: list[str], n: int = 8) -> str:
    return ", ".join(names[:n]) + (", ..." if len(names) > n else "")
