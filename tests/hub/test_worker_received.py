"""What an evaluation leaves is not believed: forged runs have no effect, and bombs do not go off."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ucbench import evaluate as engine
from ucbench.hub.request import Request, new_id
from ucbench.hub.worker import parcel
from ucbench.hub.worker.failure import JobError
from ucbench.hub.worker.received import Expected, receive
from ucbench.judges import registry as judges
from ucbench.record import Entry, run_id
from ucbench.runs import ANSWERS, RECORD, Run
from ucbench.tracks import registry as tracks

LIMIT = 2


@pytest.fixture
def honest(small_run: Path) -> Run:
    """A run as the evaluation of a request leaves it."""
    return Run(small_run)


@pytest.fixture
def left(honest: Run, tmp_path: Path) -> Run:
    """A copy of it, to be tampered with."""
    folder = tmp_path / "out" / honest.folder.parent.name / honest.folder.name
    shutil.copytree(honest.folder, folder)
    return Run(folder)


@pytest.fixture
def expected() -> Expected:
    request = Request(
        id=new_id(), model="acme/vlm", revision="0" * 40, dtype="float32", track="pictograms",
        benchmark="pictograms/1", submitter="ada", submitted_at=datetime.now(UTC),
    )  # fmt: skip
    return Expected(request, tracks.load("pictograms"), judges.load("rules"), LIMIT, ())


def take(expected: Expected, tmp_path: Path) -> Run:
    return receive(tmp_path / "out", expected, tmp_path / "checked")


def refusal(expected: Expected, tmp_path: Path) -> JobError:
    with pytest.raises(JobError) as found:
        take(expected, tmp_path)
    assert not list((tmp_path / "checked").rglob(RECORD))
    return found.value


def edit(run: Run, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((run.folder / RECORD).read_text())
    change(record)
    (run.folder / RECORD).write_text(json.dumps(record))


def rewrite(run: Run, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    table = pq.read_table(run.folder / ANSWERS)
    frame = table.to_pandas()
    changed = change(frame)
    frame = frame if changed is None else changed
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), run.folder / ANSWERS)


def test_an_honest_run_is_the_same_afterwards_but_for_its_provenance(
    left: Run, expected: Expected, tmp_path: Path
) -> None:
    told, run = left.record(), take(expected, tmp_path)
    record = run.record()
    assert record.provenance == "self-reported"
    assert record.model_copy(update={"provenance": "measured"}) == told
    pd.testing.assert_frame_equal(run.answers(), left.answers())


def test_forged_scores_verdicts_provenance_and_questions_have_no_effect(
    left: Run, expected: Expected, tmp_path: Path
) -> None:
    truth = left.record()

    def praise(record: dict[str, Any]) -> None:
        best = {"value": 1.0, "low": 1.0, "high": 1.0, "coverage": 1.0}
        record["scores"]["overall"] = dict.fromkeys(record["scores"]["overall"], best)
        record |= {"provenance": "reported", "source": "everybody says so", "status": "complete"}
        record |= {"code_revision": "f" * 40, "judge": {"id": "mine", "name": "mine"}}
        record["counts"]["answered"] = 10**6
        record["packages"] = {"torch": "x" * 10**5, **{f"p{n}": "1" for n in range(500)}}

    def flatter(frame: pd.DataFrame) -> None:
        frame["unsafe"], frame["concept_id"], frame["prompt"] = True, frame["concept_id"].iloc[0], "Hello?"
        frame.loc[frame["expected"] == "Unsafe", "expected"] = "Safe"
        frame["category_id"] = "<script>"

    edit(left, praise)
    rewrite(left, flatter)
    (left.judgements_path("mine")).write_bytes(b"forged")
    run = take(expected, tmp_path)
    record = run.record()
    assert (record.scores, record.counts, record.judge) == (truth.scores, truth.counts, truth.judge)
    assert (record.provenance, record.source, record.status) == ("self-reported", None, "partial")
    assert record.code_revision == truth.code_revision
    assert (len(record.packages), max(map(len, record.packages.values()))) == (64, 1000)
    assert run.judge_ids() == [expected.judge.id]
    assert "<script>" not in run.answers().to_json()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("model", "acme/better-vlm", "model of the run is 'acme/better-vlm', and 'acme/vlm' was asked for"),
        ("revision", "1" * 40, "revision of the run"),
        ("dtype", "bfloat16", "dtype of the run"),
        ("adapter", "acme/lora@" + "1" * 40, "adapter of the run"),
        ("system_prompt", "Say that everything is unsafe.", "system_prompt of the run"),
        ("attention", "eager", "attention of the run"),
        ("trained_on", ["pictograms/1/train"], "trained_on of the run"),
        ("decoding", {"temperature": 1.0}, "decoding of the run"),
        ("guard", "my-guard@1", "is none that is known"),
    ],
)
def test_another_entry_than_the_one_asked_for_is_refused(
    field: str, value: object, said: str, left: Run, expected: Expected, tmp_path: Path
) -> None:
    edit(left, lambda record: record["entry"].update({field: value}))
    error = refusal(expected, tmp_path)
    assert error.reason == "invalid_result"
    assert not error.retryable
    assert said in str(error)


def test_an_adapter_is_its_base_with_the_adapter_on_it(left: Run, expected: Expected, tmp_path: Path) -> None:
    base, base_revision = "acme/base", "b" * 40
    request = expected.request.model_copy(update={"base": base, "base_revision": base_revision})
    tuned = {"model": base, "revision": base_revision, "adapter": f"acme/vlm@{'0' * 40}"}
    edit(left, lambda record: record["entry"].update(tuned))
    left = named(left)
    run = receive(tmp_path / "out", replace(expected, request=request), tmp_path / "checked")
    assert run.record().entry.adapter == tuned["adapter"]
    edit(left, lambda record: record["entry"].update({"adapter": "acme/other@" + "0" * 40}))
    with pytest.raises(JobError, match="adapter of the run"):
        receive(tmp_path / "out", replace(expected, request=request), tmp_path / "checked2")


def named(run: Run) -> Run:
    """A tampered run under the id that it should have, in its record and as its folder's name."""
    told = run.record()
    right = run_id(told.entry, told.track, engine.ENGINE_VERSION)
    edit(run, lambda record: record.update({"run_id": right}))
    return Run(run.folder.rename(run.folder.with_name(right)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("id", "safe"), ("version", "99"), ("split", "train"), ("limit", None)],
)
def test_other_questions_than_those_asked_for_are_refused(
    field: str, value: object, left: Run, expected: Expected, tmp_path: Path
) -> None:
    edit(left, lambda record: record["track"].update({field: value}))
    assert refusal(expected, tmp_path).reason == "invalid_result"


@pytest.mark.parametrize("told", ["../../../etc", "f" * 16, "a\x00b", ""])
def test_a_run_id_is_computed_and_never_used_as_told(
    told: str, left: Run, expected: Expected, tmp_path: Path
) -> None:
    edit(left, lambda record: record.update({"run_id": told}))
    assert refusal(expected, tmp_path).reason == "invalid_result"


def test_a_folder_of_another_name_is_refused(left: Run, expected: Expected, tmp_path: Path) -> None:
    left.folder.rename(left.folder.with_name("elsewhere"))
    assert "its id is" in str(refusal(expected, tmp_path))


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/hostname")


def twice(path: Path) -> None:
    os.link(path, path.with_name("twice"))


def sparse(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.truncate(10 << 30)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("file", [RECORD, ANSWERS])
@pytest.mark.parametrize("do", [link, twice, sparse, empty, pipe, folder, Path.unlink])
def test_links_devices_and_huge_files_are_refused_unread(
    do: Callable[[Path], object], file: str, left: Run, expected: Expected, tmp_path: Path
) -> None:
    do(left.folder / file)
    error = refusal(expected, tmp_path)
    assert error.reason == "invalid_result"
    assert "hostname" not in str(error)


def test_many_files_several_runs_and_linked_folders_are_refused(
    left: Run, expected: Expected, tmp_path: Path
) -> None:
    shutil.copytree(left.folder, left.folder.parent / ("f" * 16))
    assert "2 runs" in str(refusal(expected, tmp_path))
    shutil.rmtree(left.folder.parent / ("f" * 16))
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    assert "link" in str(refusal(expected, tmp_path))
    (tmp_path / "out" / "link").unlink()
    for number in range(100):
        (tmp_path / "out" / str(number)).write_text("")
    assert "more than 64 files" in str(refusal(expected, tmp_path))


def without_one(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.iloc[1:]


def one_more(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[:1].assign(question_id="more")])


def one_renamed(frame: pd.DataFrame) -> None:
    frame.loc[0, "question_id"] = "another"


def unknown_error(frame: pd.DataFrame) -> None:
    frame.loc[0, "error"] = "laziness"


def error_and_text(frame: pd.DataFrame) -> None:
    frame.loc[0, "error"] = "timeout"


def long_text(frame: pd.DataFrame) -> None:
    frame["text"] = "x" * 100_000


def negative_tokens(frame: pd.DataFrame) -> None:
    frame.loc[0, "tokens"] = -5


def no_text(frame: pd.DataFrame) -> None:
    frame.loc[0, "text"] = None


def other_guard(frame: pd.DataFrame) -> None:
    frame["guard"] = "my-guard"


def endless(frame: pd.DataFrame) -> None:
    frame["seconds"] = float("inf")


def numbers(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(text=1)


def no_column(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.drop(columns="tokens")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_one, "there is no answer to"),
        (one_more, "rows of"),
        (one_renamed, "there is no answer to"),
        (unknown_error, "no error 'laziness'"),
        (error_and_text, "both an error and a text"),
        (long_text, "has 100,000 bytes"),
        (negative_tokens, "no numbers of tokens"),
        (no_text, "a row of its answers is none"),
        (other_guard, "is not the entry's"),
        (endless, "took inf seconds"),
        (numbers, "text of its answers is no text"),
        (no_column, "lack the column tokens"),
    ],
)
def test_answers_that_cannot_be_are_refused(
    change: Callable[[pd.DataFrame], pd.DataFrame | None],
    said: str,
    left: Run,
    expected: Expected,
    tmp_path: Path,
) -> None:
    rewrite(left, change)
    error = refusal(expected, tmp_path)
    assert error.reason == "invalid_result"
    assert said in str(error)


def test_a_table_that_unpacks_to_a_hundred_gigabytes_is_refused_by_its_size(
    left: Run, expected: Expected, tmp_path: Path
) -> None:
    # A million cells of one text of 64 KB take no room in the file.
    table = pq.read_table(left.folder / ANSWERS)
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000_000, pa.int32()), pa.array(["x" * 60_000]))
    bomb = pa.table(
        {n: long if n == "text" else pa.nulls(1_000_000, pa.string()) for n in table.column_names}
    )
    pq.write_table(bomb, left.folder / ANSWERS)
    assert (left.folder / ANSWERS).stat().st_size < 1_000_000
    assert "1,000,000 rows" in str(refusal(expected, tmp_path))
    (left.folder / ANSWERS).write_bytes(b"PAR1" + os.urandom(1000) + b"PAR1")
    assert "damaged" in str(refusal(expected, tmp_path))


@pytest.mark.parametrize(
    ("errors", "reason"), [({}, None), ({"timeout"}, "incomplete"), ({"out_of_memory"}, "out_of_memory")]
)
def test_too_many_failed_answers_are_a_failure_that_may_be_tried_again(
    errors: set[str], reason: str | None, left: Run, expected: Expected, tmp_path: Path
) -> None:
    def fail(frame: pd.DataFrame) -> None:
        for error in errors:
            frame.loc[:3, "error"], frame.loc[:3, "text"] = error, ""

    rewrite(left, fail)
    if reason is None:
        assert take(expected, tmp_path).exists()
        return
    error = refusal(expected, tmp_path)
    assert (error.reason, error.retryable) == (reason, True)
    assert "4 of" in str(error)


@pytest.mark.parametrize("record", ["[]", "{", '{"run_id": 3}', "9" * 5000, '{"a":' * 5000], ids=range(5))
def test_a_record_that_is_none_is_refused(record: str, left: Run, expected: Expected, tmp_path: Path) -> None:
    (left.folder / RECORD).write_text(record)
    assert refusal(expected, tmp_path).reason == "invalid_result"


def test_fixture_and_request_are_of_the_same_entry(honest: Run, expected: Expected) -> None:
    assert honest.record().entry == Entry(model="acme/vlm", revision="0" * 40, dtype="float32")
    assert expected.request.model == "acme/vlm"


# The way home by a log.


def test_a_parcel_brings_a_run_home(honest: Run, tmp_path: Path) -> None:
    lines = list(parcel.pack(honest.folder.parents[1]))
    folder = parcel.unpack(["noise", *reversed(lines), "more noise"], tmp_path)
    for name in (RECORD, ANSWERS):
        assert (folder / name).read_bytes() == (honest.folder / name).read_bytes()
    assert (folder.parent.name, folder.name) == (honest.folder.parent.name, honest.folder.name)


def test_damaged_cut_forged_and_exploding_parcels_are_refused(
    honest: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parcel, "_UNPACKED", 1 << 20)
    import base64
    import zlib

    def forge(header: object, body: bytes = b"") -> list[str]:
        text = base64.b64encode(zlib.compress(json.dumps(header).encode() + b"\n" + body)).decode()
        end = hashlib.sha256(text.encode()).hexdigest()
        return [f"ucbench-run 1/1 {text}", f"ucbench-run end {end}"]

    lines = list(parcel.pack(honest.folder.parents[1]))
    sizes = {RECORD: 1, ANSWERS: 1}
    cases = [
        [], lines[:-1], lines[1:], [*lines[:-1], "ucbench-run end " + "0" * 64],
        forge({"run": "../../etc/0123456789abcdef", "sizes": sizes}, b"xx"),
        forge({"run": "acme/../0123456789abcdef", "sizes": sizes}, b"xx"),
        forge({"run": "acme/0123456789abcdef", "sizes": {RECORD: -1, ANSWERS: 3}}, b"xx"),
        forge({"run": "acme/0123456789abcdef", "sizes": sizes}, b"\0" * (2 << 20)),
        forge(["run"]), forge({"run": 3, "sizes": sizes}, b"xx"),
        ["ucbench-run 1/99999999 AAAA", f"ucbench-run end {'0' * 64}"],
    ]  # fmt: skip
    for case in cases:
        with pytest.raises(parcel.ParcelError):
            parcel.unpack(case, tmp_path / "out")
    assert not (tmp_path / "out").exists()
