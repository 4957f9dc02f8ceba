"""From the name of a model to a model that can be asked."""

from __future__ import annotations

import os
import re
from pathlib import Path

from ucbench.errors import UnknownNameError
from ucbench.models.base import VLM
from ucbench.record import Decoding, Entry

#: Checkpoints that come with the package, by name. No Hub id can have the prefix.
EMBEDDED = {"embedded:tiny-vlm": Path(__file__).parent / "embedded" / "tiny-vlm"}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_POSSIBLE = f"{', '.join(EMBEDDED)}, the folder of a checkpoint, or a Hub id such as llava-hf/llava-1.5-7b-hf"


def names() -> tuple[str, ...]:
    """The models that need nothing from elsewhere."""
    return tuple(EMBEDDED)


def load(
    name: str,
    *,
    decoding: Decoding,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    system_prompt: str | None = None,
) -> VLM:
    """Load `embedded:tiny-vlm`, a local folder, or a Hub model `owner/name`.

    A folder that exists wins over a Hub id of the same spelling. On the entry a folder is `local:` and
    its last name only, since paths are private; its revision is a hash of its content.
    Raises `UnknownNameError`, `AccessError` or `ModelError`.
    """
    folder, public, commit = _find(name, revision)

    from ucbench.models.checkpoint import digest
    from ucbench.models.loading import load_folder
    from ucbench.models.local import LocalVLM

    loaded = load_folder(folder, name=public, dtype=dtype, device=device)
    entry = Entry(
        model=public,
        revision=commit or digest(folder),
        dtype=loaded.dtype,
        system_prompt=system_prompt,
        decoding=decoding,
    )
    return LocalVLM(loaded, entry)


def _find(name: str, revision: str | None) -> tuple[Path, str, str | None]:
    """Return (folder, name on the entry, commit SHA of a Hub model)."""
    folder = EMBEDDED.get(name)
    if folder is None and os.path.isdir(name):  # noqa: PTH112
        folder = Path(name)
    if folder is not None:
        if revision is not None:
            raise UnknownNameError(
                f"{name} is not on the Hub, so it has no revision {revision}; leave it out"
            )
        return folder, name if name in EMBEDDED else f"local:{folder.resolve().name}", None
    if os.path.isfile(name):  # noqa: PTH113 - unlike Path, it takes any text, too long or with a NUL
        raise UnknownNameError(f"{name} is a file; give the checkpoint's folder")
    if not _HUB_ID.fullmatch(name):
        raise UnknownNameError(f"there is no model {name!r}; use {_POSSIBLE}")

    from ucbench.models.download import fetch

    folder, commit = fetch(name, revision)
    return folder, name, commit
