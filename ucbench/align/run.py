"""One alignment from start to end: base, data, method, and the folder that comes out of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from ucbench import __version__, provenance
from ucbench.align import data as training
from ucbench.align.checkpoint import FREE
from ucbench.align.output import Output
from ucbench.align.probe import Probe
from ucbench.align.record import AlignRecord, BaseRef, ProbeResult, read
from ucbench.align.reward import Reward
from ucbench.align.settings import DPOSettings, PPOSettings, Settings, SFTSettings
from ucbench.errors import UcbenchError
from ucbench.files import write_text
from ucbench.hub.cards import model as card
from ucbench.judges import registry as judges
from ucbench.models import registry as models
from ucbench.tracks.base import Track
from ucbench.world import world

#: Called after every step with (steps done, all steps, metrics).
Progress = Callable[[int, int, dict[str, float]], None]


def align(
    model: str,
    track: Track,
    settings: Settings,
    *,
    preset: str,
    out: Path,
    resume: bool = False,
    merge: bool = False,
    dtype: str | None = None,
    device: str | None = None,
    revision: str | None = None,
    progress: Progress = lambda _step, _steps, _metrics: None,
    say: Callable[[str], None] = lambda _line: None,
) -> AlignRecord:
    """Align `model` on the train split of `track` and write the adapter with its record to `out`.

    A folder that holds a run already is left alone unless `resume` is given, which goes on from its last
    checkpoint and returns a finished run as it is. `merge` writes the whole model beside the adapter. `say`
    is told in a line what is special about the data.
    Raises `UcbenchError` and its kinds: unknown names, a base that cannot be aligned, a full disk, training
    that went astray.
    """
    processes = world()
    output = Output(out)
    if resume and output.finished:
        return _finished(out, track, settings)
    if output.begun and not resume:
        what = "a finished alignment" if output.finished else "an unfinished alignment"
        raise UcbenchError(f"{out} holds {what}; add --resume to go on with it, or choose another --out")
    if not output.begun and output.foreign:
        raise UcbenchError(f"{out} holds files that are no alignment; choose another --out")
    if resume and processes.is_main and not output.kept:
        say(f"there is no checkpoint in {out} yet; training begins at the start")
    items = training.training_set(track)
    notes = (f"{track.id}: {items.notice}",) if items.notice else ()
    if processes.is_main:
        for note in notes:
            say(note)
    reward = None
    if not isinstance(settings, SFTSettings | DPOSettings):
        judge = judges.load(settings.reward.judge)
        reward = Reward(settings.reward, judge, settings.max_new_tokens)
    base = models.load_base(
        model, dtype=dtype or _dtype(device), device=device, revision=revision, quantise=settings.quantise
    )
    probe = Probe(base, items.probe, settings.max_new_tokens)
    before = probe()

    started, begin = datetime.now(UTC), time.perf_counter()
    if isinstance(settings, PPOSettings):
        from ucbench.align import loop

        assert reward is not None
        trained = loop.train(
            base, items, settings, out=output, reward=reward, probe=probe, resume=resume, progress=progress
        )
    else:
        from ucbench.align import baselines

        trained = baselines.train(
            base, items, settings, out=output, reward=reward, resume=resume, progress=progress
        )
    seconds = time.perf_counter() - begin
    record = AlignRecord(
        base=BaseRef(
            model=base.name,
            path=str(base.folder.resolve()) if base.name.startswith("local:") else None,
            revision=base.revision,
        ),
        method=settings.method,
        preset=preset,
        settings=settings.model_dump(mode="json"),
        track=track.id,
        track_version=track.version,
        trained_on=items.trained_on,
        n_items=len(items.items),
        sides=items.sides,
        notes=notes,
        steps=trained.steps,
        answers=trained.answers,
        trainable_parameters=trained.trainable_parameters,
        rewarding_judge=reward.judge_id if reward else None,
        probe=ProbeResult(
            judge=probe.judge.id, held_back=items.held_back, before=before, after=probe(), n=probe.n
        ),
        seconds=round(trained.seconds or seconds, 3),
        peak_memory_bytes=peak_memory(),
        processes=processes.size,
        started_at=started,
        code_version=__version__,
        code_revision=provenance.code_revision(),
        packages=provenance.packages(),
        hardware=provenance.hardware(str(base.loaded.model.device)),
    )
    if processes.is_main:
        output.write_adapter(trained.model)
        write_text(output.folder / "README.md", card.render(record))
        if merge:
            output.write_merged(trained.model, base.loaded.processor, record)
        output.write_record(record)
    processes.wait()
    return record


def _dtype(device: str | None) -> str | None:
    """bfloat16 on a GPU, since gradients in a checkpoint's own float16 would need scaling; else as ever."""
    import torch

    on_gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    return "bfloat16" if on_gpu else None


def _finished(out: Path, track: Track, settings: Settings) -> AlignRecord:
    """The record of a finished run, if it is the run that is asked for."""
    record = read(out)
    wanted = settings.model_dump(mode="json")
    same = (record.track, record.track_version) == (track.id, track.version) and all(
        record.settings.get(key) == value for key, value in wanted.items() if key not in FREE
    )
    if not same:
        raise UcbenchError(
            f"{out} holds a finished alignment with other settings; choose another --out, or remove it"
        )
    return record


def peak_memory() -> int:
    """The most memory that the process (on CUDA: the device) held at once, in bytes."""
    import resource
    import sys

    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
