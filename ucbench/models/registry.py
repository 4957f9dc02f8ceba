"""From the name of a model to a model that can be asked."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ucbench.errors import ModelError, UnknownNameError
from ucbench.models import known
from ucbench.models.base import VLM
from ucbench.record import Decoding, Entry

if TYPE_CHECKING:
    from ucbench.models.adapter import Adapter
    from ucbench.models.loading import Loaded, Options

#: Checkpoints that come with the package, by name. No Hub id can have the prefix.
EMBEDDED = {"embedded:tiny-vlm": Path(__file__).parent / "embedded" / "tiny-vlm"}

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_POSSIBLE = f"{', '.join(EMBEDDED)}, the folder of a checkpoint, or a Hub id such as llava-hf/llava-1.5-7b-hf"


def names() -> tuple[str, ...]:
    """The models that need nothing from elsewhere."""
    return tuple(EMBEDDED)


@dataclass(frozen=True, slots=True)
class Base:
    """A whole model and its identity.

    `name` is the public one, as on the entry; `revision` a Hub commit, or `sha256:` and a digest of the
    folder's content.
    """

    loaded: Loaded
    name: str
    revision: str
    folder: Path


def load(
    name: str,
    *,
    decoding: Decoding,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    base_revision: str | None = None,
    system_prompt: str | None = None,
    template: str | None = None,
    attention: str | None = None,
    max_pixels: int | None = None,
    guard: str | None = None,
) -> VLM:
    """Load `embedded:tiny-vlm`, a local folder, or a Hub model `owner/name`; a LoRA adapter with its base.

    A folder that exists wins over a Hub id of the same spelling. On the entry a folder is `local:` and
    its last name only, since paths are private; its revision is a hash of its content. A model of the Hub
    is loaded at `revision`, or at the commit that known.yaml names, or as it is now; the entry has the
    commit. For an adapter, the entry's model and revision are those of its base, `revision` is the
    adapter's own, and `base_revision` the base's where the adapter names no commit of it.
    `template`, `attention` and `max_pixels` change answers and stand on the entry; without a template
    chosen, that of the known model is taken (see known.yaml), or the checkpoint's own. `guard` names the
    format of a guard model, or is `none`; see `guards.choose` for what is done without it.
    Raises `UnknownNameError`, `AccessError` or `ModelError`.
    """
    folder, public, commit = _find(name, revision)

    from ucbench.models import adapter, guards
    from ucbench.models.guards.vlm import wrap
    from ucbench.models.loading import Options
    from ucbench.models.local import LocalVLM

    options = Options(dtype, device, template=template, attention=attention, max_pixels=max_pixels)
    if adapter.is_adapter(folder):
        tuned = adapter.pinned(adapter.read(folder, public, commit), base_revision)
        base = _load_base_of(tuned, options)
        loaded = adapter.attach(base.loaded, tuned)
        trained_on = tuned.trained_on
    else:
        if base_revision is not None:
            raise UnknownNameError(f"{public} is no adapter, so it has no base; leave out its revision")
        tuned = None
        base = _load_whole(folder, public, commit, options)
        loaded = base.loaded
        # A merged model carries the record of its training.
        trained_on = adapter.read_align(folder, public)[1]
    entry = Entry(
        model=base.name,
        revision=base.revision,
        dtype=loaded.dtype,
        adapter=tuned.identity if tuned else None,
        system_prompt=system_prompt,
        template=loaded.template,
        attention=loaded.attention,
        max_pixels=loaded.max_pixels,
        decoding=decoding,
        trained_on=trained_on,
    )
    model_type, template = loaded.model.config.model_type, loaded.processor.chat_template
    chosen = guards.choose(guard, base.name, model_type, template)
    if chosen is None:
        return LocalVLM(loaded, entry)
    local = LocalVLM(loaded, entry, *([chosen.decoder()] if chosen.decoder else []))
    return wrap(local, chosen.adapt(chosen, loaded.processor))


def load_base(
    name: str,
    *,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    quantise: str | None = None,
) -> Base:
    """Load a whole model, found and checked as by `load`; an adapter is refused. Raises as `load` does.

    `quantise="nf4"` keeps its weights in 4 bits with double quantisation, on CUDA only.
    """
    from ucbench.models.loading import Options

    return _load_whole(*_find(name, revision), Options(dtype, device, quantise))


def _load_whole(folder: Path, public: str, commit: str | None, options: Options) -> Base:
    from ucbench.models.checkpoint import digest
    from ucbench.models.loading import load_folder

    if options.template is None:
        options = replace(options, template=known.template(public))
    return Base(load_folder(folder, name=public, options=options), public, commit or digest(folder), folder)


def _load_base_of(adapter: Adapter, options: Options) -> Base:
    """The base of an adapter, on the revision that it was trained on where that is known."""
    try:
        found = _find(adapter.base, adapter.base_revision)
    except UnknownNameError as error:
        raise ModelError(f"the base model of {adapter.name} cannot be found: {error}") from error
    base = _load_whole(*found, options)
    if adapter.trained_revision not in (None, base.revision):
        raise ModelError(
            f"{adapter.name} was trained on revision {adapter.trained_revision} of {base.name}, but here is "
            f"{base.revision}; bring back the base as it was, or train the adapter again"
        )
    return base


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
    known.check_runs_here(name)
    if not _HUB_ID.fullmatch(name):
        raise UnknownNameError(f"there is no model {name!r}; use {_POSSIBLE}")

    from ucbench.models import adapter, checkpoint
    from ucbench.models.download import fetch

    def check(folder: Path) -> None:
        if not adapter.is_adapter(folder):
            checkpoint.check_config(folder, name)

    folder, commit = fetch(name, revision or known.commit(name), check=check)
    return folder, name, commit
