"""The command that makes a run again: what the real command line makes of it is the same run."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ucbench import evaluate
from ucbench.judges import registry as judges
from ucbench.models import known
from ucbench.record import Decoding, Engine, Entry, JudgeRef, RunRecord, TrackRef, run_id
from ucbench.reproduce import reproduction
from ucbench.runs import Run, find
from ucbench.tracks import registry as tracks

Cli = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).parents[1]


def record(entry: Entry, track: TrackRef | None = None, **changes: Any) -> RunRecord:
    track = track or TrackRef(id="pictograms", version="1")
    told: dict[str, Any] = {
        "judge": JudgeRef(id="rules-1", name="rules"), "code_version": "0", "engine": Engine(path="batched"),
    }  # fmt: skip
    return RunRecord(run_id="x", entry=entry, track=track, **(told | changes))


def command(*given: Any, **changes: Any) -> list[str]:
    return shlex.split(reproduction(record(*given, **changes)).command)


class Planned(Exception):  # noqa: N818 - no error
    """Ends the command where it would begin to answer."""


ENTRIES = [
    {},
    {"decoding": Decoding(temperature=0.7, top_p=0.9, max_new_tokens=12, seed=3)},
    {"system_prompt": 'Say "no", don\'t; $HOME `x` \\ ü'},
    {"attention": "eager"},
]


@pytest.mark.parametrize("options", ENTRIES)
def test_the_command_line_makes_the_same_run_of_it(
    ucbench: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: dict[str, Any]
) -> None:
    """The embedded model with every kind of option that is part of a run's identity."""
    records = (run.record() for run in find(ROOT / "results"))
    kept = next(one for one in records if one.entry.model == "embedded:tiny-vlm" and not one.entry.adapter)
    entry = Entry(model=kept.entry.model, revision=kept.entry.revision, dtype="float32", **options)
    track = TrackRef(id="pictograms", version=tracks.load("pictograms").version, draw=2, limit=7)
    told = reproduction(record(entry, track))
    seen: list[str] = []

    def planned(vlm: Any, asked: Any, judge: Any, **how: Any) -> None:
        names = ("out", "split", "draw", "limit")
        seen.append(evaluate.plan(vlm, asked, **{name: how[name] for name in names}).run.run_id)
        assert judge.id == "rules-1"
        raise Planned

    monkeypatch.setattr(evaluate, "evaluate", planned)
    words = shlex.split(told.command)
    assert words[0] == "ucbench"
    with pytest.raises(Planned):
        ucbench(*words[1:], "--out", str(tmp_path))
    assert seen == [run_id(entry, track, evaluate.ENGINE_VERSION)]


def test_committed_runs_would_be_made_again() -> None:
    """Every option of a committed run's identity is in its command."""
    found = [run.record() for run in find(ROOT / "results")]
    measured = [one for one in found if one.provenance == "measured"]
    assert measured
    for one in measured:
        assert one.run_id == run_id(one.entry, one.track, evaluate.ENGINE_VERSION)
        words = shlex.split(reproduction(one).command)
        decoding = one.entry.decoding
        assert words[words.index("--max-new-tokens") + 1] == str(decoding.max_new_tokens)
        assert float(words[words.index("--temperature") + 1]) == decoding.temperature
        assert ("--top-p" in words) == (decoding.top_p != 1)
        assert ("--system-prompt" in words) == (one.entry.system_prompt is not None)
        assert words[words.index("--track") + 1] == one.track.id
    for one in found:
        if one.provenance == "reported":
            assert not reproduction(one).command


def test_answers_from_elsewhere_are_imported_again(
    ucbench: Cli, scripted: Callable[..., Any], tmp_path: Path
) -> None:
    """The run's own table of answers, imported by the command, is the same run."""
    from ucbench.importing.run import Part, import_answers

    track, rules = tracks.load("pictograms"), judges.load("rules")
    answered = evaluate.evaluate(scripted("acme/away", 0.8), track, rules, out=tmp_path / "runs", limit=6)
    table = tmp_path / "given.parquet"
    answers = Run(tmp_path / "runs" / answered.entry.slug / answered.run_id).answers()
    answers[["sample_id", "question_id", "text"]].iloc[:-1].to_parquet(table)
    entry = Entry(model="acme/away vlm", dtype="bfloat16", system_prompt="Be careful.")
    imported, _ = import_answers(
        table, entry, lambda sources: tracks.load("pictograms", sources), _no_sources(), rules,
        out=tmp_path / "imported", part=Part(None, 0, 6), source="https://example.org/answers",
    )  # fmt: skip
    told = reproduction(imported)
    words = shlex.split(told.command)
    assert words[:3] == ["ucbench", "import-answers", "answers.parquet"]
    folder = tmp_path / "imported" / imported.entry.slug / imported.run_id
    words[2] = str(folder / "answers.parquet")
    done = ucbench(*words[1:], "--out", str(tmp_path / "again"))
    assert done.returncode == 0, done.stderr
    (again,) = find(tmp_path / "again")
    assert again.run_id == imported.run_id
    assert again.record().source == imported.source
    shutil.rmtree(tmp_path / "again")


def _no_sources() -> Any:
    from ucbench.tracks.sources import Sources

    return Sources()


def test_models_of_the_hub_adapters_folders_and_services() -> None:
    commit = "a" * 40
    assert command(Entry(model="acme/vlm", revision=commit, dtype="bfloat16"))[2:5] == [
        "acme/vlm", "--revision", commit,
    ]  # fmt: skip
    adapter = Entry(model="acme/vlm", revision=commit, dtype="bfloat16", adapter=f"acme/ppo@{'b' * 40}")
    assert command(adapter)[2:5] == ["acme/ppo", "--revision", "b" * 40]
    assert f"base is acme/vlm at {commit}" in " ".join(reproduction(record(adapter)).needs)
    folder = Entry(model="local:mine", revision="sha256:0123456789abcdef", dtype="float32")
    assert command(folder)[2] == "./mine"
    assert "sha256:0123456789abcdef" in " ".join(reproduction(record(folder)).needs)
    served = Entry(
        model="endpoint:org/vlm:8b", revision="vlm-2026", guard="llama-guard-4@1", system_prompt="x"
    )
    assert command(served)[2:6] == ["--endpoint", "URL", "--model", "org/vlm:8b"]
    assert "--guard llama-guard-4" in reproduction(record(served)).command
    assert "--dtype" not in command(served)
    provided = command(Entry(model="provider:auto:org/vlm"))
    assert provided[2:6] == ["--provider", "auto", "--model", "org/vlm"]


def test_what_a_known_model_gets_by_itself_is_told_where_it_did_not() -> None:
    templated = next(row for row in known.rows() if row.template)
    guarded = next(row for row in known.rows() if row.guard)
    commit = "c" * 40
    assert "--template own" in " ".join(command(Entry(model=templated.id, revision=commit)))
    kept = Entry(model=templated.id, revision=commit, template=templated.template)
    assert f"--template {templated.template}" in " ".join(command(kept))
    assert "--guard none" in " ".join(command(Entry(model=guarded.id, revision=commit)))


@pytest.mark.parametrize(
    ("track", "version", "options"),
    [
        ("unsafeconcepts", "1-official-options-with-safe-abc-files-def",
         "--data PICTURES --perception-metadata perception_metadata.jsonl --safe-data SAFE"),
        ("unsafeconcepts", "1-own-options-incomplete-abc-files-def", "--data PICTURES --allow-incomplete"),
        ("unsafeconcepts", "1-own-options-abc-hub-0123456789ab", "--split"),
        ("contexts", "questions.abc-pictograms-1", "--questions QUESTIONS"),
        ("mme", "1-abc", "--data DATA"),
        ("pictograms", "1", "--split"),
    ],
)  # fmt: skip
def test_data_that_must_be_there_is_named(track: str, version: str, options: str) -> None:
    found = reproduction(record(Entry(model="acme/vlm"), TrackRef(id=track, version=version)))
    assert f"--track {track} {options}" in found.command
    assert (version in " ".join(found.needs)) == (track not in ("pictograms", "contexts"))


def test_judges() -> None:
    def judge(name: str, revision: str | None = None) -> str:
        words = command(Entry(model="m/m"), judge=JudgeRef(id="x", name=name, revision=revision))
        return words[words.index("--judge") + 1]

    assert judge("classifier") == "classifier"
    assert judge("classifier:official", "a,b,c") == "classifier:official@a,b,c"
    assert judge("llm:qwen") == "llm:qwen@URL"
    for name in ("rules", "classifier", "classifier:official", "llm:qwen@URL", "rating:m@URL", "contains"):
        judges.check_name(name)
