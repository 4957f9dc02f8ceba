"""What a user points a track at."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Sources:
    """Where a track's data lies; every field left out stands for the track's own default.

    `data` and `safe_data` are a folder, a file or a Hub id (`owner/name` or `owner/name@revision`).
    `metadata` and `perception_metadata` are the JSON lines files beside the official images, `questions` a
    file of contextual questions. `allow_incomplete` takes data whose counts differ from the published ones;
    the track's version then says so. `without_pictures` says that only the questions are wanted, since the
    answers come from elsewhere: a track that knows them from the metadata alone then looks for no pictures.
    `stream` reads data on the Hub as it is asked for and keeps no copy of it.
    """

    data: str | None = None
    metadata: Path | None = None
    perception_metadata: Path | None = None
    questions: Path | None = None
    safe_data: str | None = None
    allow_incomplete: bool = False
    without_pictures: bool = False
    stream: bool = False

    def given(self) -> tuple[str, ...]:
        """The names of the fields that the user set."""
        names = [field.name for field in fields(self) if field.name != "without_pictures"]
        return tuple(name for name in names if getattr(self, name))


def option(name: str) -> str:
    """The command-line option of a field: `safe_data` -> `--safe-data`."""
    return f"--{name.replace('_', '-')}"
