"""Publishing aligned models, and what their cards and those of results say."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from huggingface_hub import ModelCard, hf_api
from PIL import Image
from typer.testing import CliRunner

from ucbench import board as boards
from ucbench.align import data
from ucbench.align import run as aligning
from ucbench.align import settings as presets
from ucbench.align.record import AlignRecord, BaseRef
from ucbench.align.record import read as read_record
from ucbench.align.report_record import AlignReport
from ucbench.cli import app
from ucbench.errors import UcbenchError
from ucbench.hub.cards import dataset, markdown, model
from ucbench.hub.cards.model import Licence, Place
from ucbench.metrics.keys import KEYS
from ucbench.models import adapter, checkpoint, registry
from ucbench.record import Decoding
from ucbench.runs import ANSWER_COLUMNS, JUDGEMENT_COLUMNS, MORE_ANSWER_COLUMNS, MORE_JUDGEMENT_COLUMNS
from ucbench.tracks.pictograms import Pictograms
from ucbench.types import Question, Sample

BASE, TINY = "acme/tiny-vlm", registry.EMBEDDED["embedded:tiny-vlm"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model, aligned by two steps of PPO that change it for all to see."""
    out = tmp_path_factory.mktemp("aligned") / "tiny-ppo"
    small = {
        "batch_size": 8, "micro_batch_size": 4, "max_steps": 2, "max_new_tokens": 16, "probe_every": 0,
        "checkpoint_every": 1, "warmup_steps": 0, "lr": 0.02,
    }  # fmt: skip
    settings = presets.load("ppo", "tiny", **small)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(data, "TRAIN_DRAWS", (0,))
        patched.setattr(data, "PROBE_PICTURES", 8)
        aligning.align("embedded:tiny-vlm", Pictograms(), settings, preset="tiny", out=out)
    return out


def rebased(folder: Path, base: BaseRef, config: str) -> Path:
    """The same adapter, made on another base."""
    record = read_record(folder)
    (folder / "align.json").write_text(record.model_copy(update={"base": base}).to_json())
    told = json.loads((folder / "adapter_config.json").read_text())
    told["base_model_name_or_path"] = config
    (folder / "adapter_config.json").write_text(json.dumps(told))
    return folder


@pytest.fixture
def hosted(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A hub with the tiny model on it."""
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("UCBENCH_STORE", raising=False)
    monkeypatch.delenv("UCBENCH_RESULTS_STORE", raising=False)
    monkeypatch.chdir(tmp_path)
    # The functions of huggingface_hub that PEFT calls have read their endpoint at import.
    monkeypatch.setattr(hf_api.api, "endpoint", hub.url)
    hub.create_repo("model", BASE)
    hub.commit("model", BASE, {path.name: path.read_bytes() for path in TINY.iterdir()})
    return hub


@pytest.fixture
def aligned(hosted: Any, trained: Path, tmp_path: Path) -> Path:
    """An adapter whose base is on the hub."""
    base = BaseRef(model=BASE, path=None, revision=hosted.head("model", BASE))
    return rebased(Path(shutil.copytree(trained, tmp_path / "mine")), base, BASE)


@dataclass(frozen=True)
class Given:
    """A picture that is there."""

    image: Image.Image

    def load(self) -> Image.Image:
        return self.image


def publish(*arguments: str | Path, account: str = "bob") -> Result:
    told = {"HF_TOKEN": f"hf_{account}", "COLUMNS": "200"}
    return CliRunner().invoke(app, ["publish", *map(str, arguments)], env=told)


def refused(*arguments: str | Path, account: str = "bob") -> str:
    shown = publish(*arguments, account=account)
    assert isinstance(shown.exception, UcbenchError), shown.output
    return str(shown.exception)


def answers(name: str | Path) -> list[str]:
    vlm = registry.load(str(name), decoding=Decoding(max_new_tokens=16))
    samples = Pictograms().samples(limit=6)[:6]
    return [answer.text for batch in vlm.plan(samples, 16) for answer in vlm.answer(batch)]


def snippet(card: str) -> str:
    return card.split("```python\n")[1].partition("```")[0]


def report_of(folder: Path, tmp_path: Path) -> Path:
    """The published report, told about this adapter."""
    record = read_record(folder)
    path = Path(boards.__file__).parents[1] / "results" / "align-report.json"
    told = AlignReport.model_validate_json(path.read_bytes())
    identity = adapter.read(folder, f"local:{folder.name}", None).identity
    own = told.methods["ppo"].model_copy(update={"entry": f"{BASE} + {identity}", "seeds": {}})
    told = told.model_copy(
        update={"model": BASE, "revision": record.base.revision, "methods": {**told.methods, "ppo": own}}
    )
    (tmp_path / "align-report.json").write_text(told.to_json())
    return tmp_path / "align-report.json"


def answered(folder: Path, image: Image.Image, text: str) -> str:
    """What the project's own engine gets for one question about one picture."""
    vlm = registry.load(str(folder), decoding=Decoding(max_new_tokens=128))
    question = Question("q", "image_alignment", "image_alignment_0", text, "arson", "Unsafe")
    sample = Sample("s", Given(image), "test", (question,))
    (answer,) = [answer for batch in vlm.plan([sample], 1) for answer in vlm.answer(batch)]
    return answer.text


def test_an_adapter_comes_back_with_the_same_answers(
    hosted: Any, aligned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = report_of(aligned, tmp_path)
    shown = publish(aligned, "--to", "bob/tiny-ppo", "--report", report)
    assert shown.exit_code == 0, shown.stderr
    files = hosted.files("model", "bob/tiny-ppo")
    assert set(files) == {
        "README.md", "align.json", "adapter_config.json", "adapter_model.safetensors", "train.jsonl",
    }  # fmt: skip
    assert len(hosted.commits("model", "bob/tiny-ppo")) == 2  # the first one made the repository
    here = answers(aligned)
    assert here != answers("embedded:tiny-vlm")
    assert answers("bob/tiny-ppo") == here

    card = ModelCard(files["README.md"].decode())
    assert card.data.base_model == BASE
    assert card.data.base_model_relation == "adapter"
    assert card.data.library_name == "peft"
    assert card.data.license == "apache-2.0"
    assert {"ucbench", "ppo", "lora"} <= set(card.data.tags)
    outcome = AlignReport.model_validate_json(report.read_bytes()).methods["ppo"]
    told = {result.metric_type: result for result in card.data.eval_results}
    for key, score in outcome.after.items():
        if score.value is not None:
            assert told[key].metric_value == pytest.approx(score.value, abs=1e-4)
            assert told[key].metric_args["n"] == score.n_items
            assert told[key].dataset_split == "test"
    before, after = outcome.before["image_alignment"], outcome.after["image_alignment"]
    row = next(line for line in card.content.splitlines() if line.startswith("| `image_alignment` |"))
    for score in (before, after):
        assert f"{score.value:.2f}".removeprefix("0") in row
        assert f"{score.low:.2f}".removeprefix("0") in row
    assert f"{after.n_items:,}" in row

    # The card's own lines, by PEFT alone.
    namespace: dict[str, Any] = {}
    capsys.readouterr()
    exec(compile(snippet(card.content), "card", "exec"), namespace)
    said = capsys.readouterr().out.strip()
    assert said == answered(aligned, namespace["image"], namespace["question"])

    again = publish(aligned, "--to", "bob/tiny-ppo", "--report", report)
    assert "nothing changed" in again.stderr
    assert len(hosted.commits("model", "bob/tiny-ppo")) == 2


def test_a_merged_model_comes_back_with_the_same_answers(hosted: Any, aligned: Path) -> None:
    shown = publish(aligned, "--to", "bob/tiny-whole", "--merged", "--private")
    assert shown.exit_code == 0, shown.stderr
    assert hosted.repo("model", "bob/tiny-whole").private
    files = hosted.files("model", "bob/tiny-whole")
    assert {"model.safetensors", "config.json", "align.json", "tokenizer.json"} <= set(files)
    assert "adapter_config.json" not in files
    card = ModelCard(files["README.md"].decode())
    assert (card.data.base_model_relation, card.data.library_name) == ("finetune", "transformers")
    assert "from_pretrained('bob/tiny-whole')" in snippet(card.content)
    compile(snippet(card.content), "card", "exec")
    assert answers(aligned / "merged") == answers(aligned)
    sent = hashlib.sha256(files["model.safetensors"]).hexdigest()
    assert sent == hashlib.sha256((aligned / "merged" / "model.safetensors").read_bytes()).hexdigest()
    # One that holds a whole model gets no adapter, and the other way round.
    assert "holds a whole model" in refused(aligned, "--to", "bob/tiny-whole")


def test_no_path_of_this_machine_leaves_it(hosted: Any, trained: Path, tmp_path: Path) -> None:
    local = Path(shutil.copytree(TINY, tmp_path / "secret-place" / "vlm"))
    base = BaseRef(model="local:vlm", path=str(local), revision=checkpoint.digest(local))
    folder = rebased(Path(shutil.copytree(trained, tmp_path / "mine")), base, str(local))
    assert "--base OWNER/NAME" in refused(folder, "--to", "bob/ppo")
    hosted.create_repo("model", "acme/other")
    hosted.commit("model", "acme/other", {"model.safetensors": b"other"})
    assert "not the base that was trained on" in refused(folder, "--to", "bob/ppo", "--base", "acme/other")
    assert ("model", "bob/ppo") not in hosted.state.repos
    shown = publish(folder, "--to", "bob/ppo", "--base", BASE)
    assert shown.exit_code == 0, shown.stderr
    files = hosted.files("model", "bob/ppo")
    for name, content in files.items():
        assert b"secret-place" not in content, name
    config = json.loads(files["adapter_config.json"])
    assert (config["base_model_name_or_path"], config["revision"]) == (BASE, hosted.head("model", BASE))
    assert answers("bob/ppo") == answers(folder)


def test_a_pull_request_to_a_model_of_others(hosted: Any, aligned: Path) -> None:
    hosted.create_repo("model", "acme/tiny-ppo")
    hosted.commit("model", "acme/tiny-ppo", {"README.md": b"---\nlicense: mit\n---\nours\n"})
    assert "written by somebody else" in refused(aligned, "--to", "acme/tiny-ppo", account="alice")
    for _ in range(2):
        shown = publish(aligned, "--to", "acme/tiny-ppo", "--pr")
        assert shown.exit_code == 0, shown.stderr
        assert "/acme/tiny-ppo/discussions/1" in shown.stderr
    assert len(hosted.repo("model", "acme/tiny-ppo").discussions) == 1
    assert hosted.files("model", "acme/tiny-ppo")["README.md"].endswith(b"ours\n")
    assert "adapter_model.safetensors" in hosted.files("model", "acme/tiny-ppo", "refs/pr/1")
    assert "no bob/none to open a pull request" in refused(aligned, "--to", "bob/none", "--pr")
    denied = refused(aligned, "--to", "acme/fresh")
    assert "acme/fresh" in denied
    assert ("model", "acme/fresh") not in hosted.state.repos


def test_a_card_that_cannot_be_read_is_not_overwritten(
    hosted: Any, aligned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ucbench.hub import repository
    from ucbench.hub.retry import Patience

    monkeypatch.setattr(repository, "Patience", lambda: Patience(attempts=2, first=0.01, longest=0.02))
    hosted.create_repo("model", "bob/mine")
    hosted.commit("model", "bob/mine", {"README.md": b"by hand"})
    for fault in ("500", "cut"):
        hosted.faults.add(fault, path="*/resolve/*", times=None)
        assert refused(aligned, "--to", "bob/mine")
        hosted.faults.clear()
    assert hosted.files("model", "bob/mine") == {"README.md": b"by hand"}


@pytest.mark.parametrize("fault", ["412", "429", "500", "500-after", "cut", "cut-after"])
def test_faults_on_the_way_end_in_one_commit(
    hosted: Any, aligned: Path, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ucbench.hub import repository
    from ucbench.hub.retry import Patience

    monkeypatch.setattr(repository, "Patience", lambda: Patience(first=0.01, longest=0.05))
    hosted.create_repo("model", "bob/ppo")
    hosted.faults.add(fault, method="POST", path="*/commit/*", times=1, seconds=0.01)
    shown = publish(aligned, "--to", "bob/ppo")
    assert shown.exit_code == 0, shown.stderr
    assert len(hosted.commits("model", "bob/ppo")) == 2
    hosted.faults.add(fault, method="POST", path="*/commit/*", times=1, seconds=0.01)
    (aligned / "train.jsonl").write_text("")
    assert publish(aligned, "--to", "bob/ppo", "--pr").exit_code == 0
    assert len(hosted.repo("model", "bob/ppo").discussions) == 1


def test_dry_run_and_an_unknown_licence(hosted: Any, aligned: Path) -> None:
    card = hosted.files("model", BASE)["README.md"].replace(b"license: apache-2.0\n", b"")
    base = BaseRef(model=BASE, revision=hosted.commit("model", BASE, {"README.md": card}))
    rebased(aligned, base, BASE)
    shown = publish(aligned, "--to", "bob/ppo", "--dry-run")
    assert shown.exit_code == 0, shown.stderr
    assert "licence of the base acme/tiny-vlm is unknown" in shown.stderr
    assert "held-back pictures only" in shown.stderr
    size = (aligned / "adapter_model.safetensors").stat().st_size
    assert f"{size:,}  adapter_model.safetensors" in shown.stdout
    assert ("model", "bob/ppo") not in hosted.state.repos


def test_beta_results_refer_to_the_dataset(hosted: Any, aligned: Path, tmp_path: Path) -> None:
    report = report_of(aligned, tmp_path)
    told = ("--to", "bob/ppo", "--report", report, "--beta")
    assert "--results" in refused(aligned, *told)
    shown = publish(aligned, *told, "--results", "hf://datasets/acme/results")
    assert shown.exit_code == 0, shown.stderr
    (entry,) = yaml.safe_load(hosted.files("model", "bob/ppo")[".eval_results/ucbench.yaml"])
    assert entry["dataset"] == {"id": "acme/results", "task_id": "pictograms"}
    assert 0 < entry["value"] <= 1


def test_a_report_on_another_adapter_is_not_taken(hosted: Any, aligned: Path, tmp_path: Path) -> None:
    report = report_of(aligned, tmp_path)
    (aligned / "adapter_config.json").write_text(
        (aligned / "adapter_config.json").read_text().replace('"lora_alpha": 32', '"lora_alpha": 31')
    )
    shown = publish(aligned, "--to", "bob/ppo", "--report", report, "--dry-run")
    assert "held-back pictures only" in shown.stderr
    assert not hosted.requests or all(asked.method != "POST" for asked in hosted.requests)


HOSTILE = {
    "html": "<script>alert(1)</script>",
    "link": "](javascript:alert(1))",
    "code": "`code` | cell\n\n# Heading",
    "head": "---\nlicense: evil\n---",
    "image": "![x](http://evil.example/x.png)",
    "long": "a" * 5000,
    "template": "$use {braces} %s",
    "marker": "<!-- ucbench: end -->",
    "terminal": "\x1b[31mred",
}


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_are_text_in_a_model_card(trained: Path, name: str) -> None:
    record: AlignRecord = read_record(trained)
    record = record.model_copy(
        update={"base": BaseRef(model=f"local:{name}", revision=name), "rewarding_judge": name, "track": name}
    )
    card = model.render(record, None, Place("bob/x", licence=Licence("other", name, name)))
    data = ModelCard(card).data
    assert data.license == "other"
    assert data.base_model is None
    body = card.partition(model.OURS)[2]
    check_harmless(body)
    assert len(card) < 40_000


def check_harmless(body: str) -> None:
    outside = " ".join(part for n, part in enumerate(body.split("`")) if n % 2 == 0)
    assert "<script" not in outside
    assert "\x1b" not in body
    assert "\n# Heading" not in body
    assert not [line for line in body.splitlines() if line == "---"]
    assert "](javascript" not in outside.replace("\\]\\(", "")
    assert "![x]" not in outside.replace("\\!\\[", "")


@pytest.mark.parametrize("name", HOSTILE.values(), ids=HOSTILE)
def test_names_are_text_in_a_card_of_results(scripted_store: Path, name: str) -> None:
    board = boards.load(scripted_store)
    rows = board.rows.copy()
    rows["model"] = name
    card = dataset.render("hf://datasets/acme/results", replace(board, rows=rows))
    again = dataset.render("hf://datasets/acme/results", replace(board, rows=rows), card)
    assert again == card
    body = card.partition(dataset.BEGIN)[2]
    assert body.count(dataset.END) == 1
    check_harmless("\n".join(line for line in body.splitlines() if not line.startswith("<!--")))


@pytest.mark.parametrize(
    "head", ["a: 2020-99-99", "a: " + "[" * 20_000, "a: [", "a: !!python/name:os.system"]
)
def test_a_card_whose_head_cannot_be_read_stays_as_it_is(scripted_store: Path, head: str) -> None:
    card = f"---\n{head}\n---\n# Ours\n"
    assert dataset.render("hf://datasets/acme/results", boards.load(scripted_store), card) == card


def test_what_others_wrote_into_a_card_stays(scripted_store: Path) -> None:
    board = boards.load(scripted_store)
    address = "hf://datasets/acme/results"
    plain = dataset.render(address, board)
    head, _ = markdown.parted(plain) or ({}, "")
    assert [config["config_name"] for config in head["configs"]] == ["board", "breakdowns", "ranks"]
    told = dataset.render(address, board, "---\nlicense: mit\ntags: [mine]\n---\n# Ours\n\nWords.\n")
    head, body = markdown.parted(told) or ({}, "")
    assert (head["license"], head["tags"]) == ("mit", ["mine"])
    assert len(head["configs"]) == 3
    assert body.startswith("# Ours\n\nWords.\n")
    assert body.count(dataset.BEGIN) == 1
    later = dataset.render(address, replace(board, rows=board.rows.head(1)), told + "\nMore.\n")
    assert "Words." in later
    assert later.endswith("\nMore.\n")
    assert later.count(dataset.BEGIN) == 1
    broken = "---\nlicense: [\n---\nbody"
    assert dataset.render(address, board, broken) == broken


def test_every_column_is_described_and_the_card_stays_small(scripted_store: Path) -> None:
    columns: dict[str, dict[str, str]] = yaml.safe_load(
        (Path(dataset.__file__).parent / "columns.yaml").read_text()
    )
    assert list(columns["board"]) == list(boards.IDENTITY_TYPES)
    assert list(columns["breakdowns"]) == list(boards.BREAKDOWN_TYPES)
    assert list(columns["ranks"]) == list(boards.RANK_TYPES)
    assert set(columns["answers"]) == {*ANSWER_COLUMNS, *MORE_ANSWER_COLUMNS}
    assert set(columns["judgements"]) == {*JUDGEMENT_COLUMNS, *MORE_JUDGEMENT_COLUMNS}
    board = boards.load(scripted_store)
    rows = board.rows.loc[board.rows.index.repeat(400)]
    card = dataset.render("hf://datasets/acme/results", replace(board, rows=rows))
    assert len(card) < 40_000
    assert "and 1,190 more" in card
    assert all(f"`{key}`" in card for key in KEYS)
    private = dataset.render("/home/somebody/board", board)
    assert "/home/somebody" not in private


@pytest.mark.parametrize("text", ["", "a`b", "``", "`", "x|y", "\n\n", "é—中"])
def test_code_spans_close_where_they_should(text: str) -> None:
    import re

    span = markdown.code(text)
    fence = re.match("`+", span)
    assert fence
    inside = span[len(fence[0]) : -len(fence[0])]
    assert span.endswith(fence[0])
    assert fence[0] not in re.findall("`+", inside)
    assert "\n" not in span
    assert "|" not in span


def test_usage_errors(hosted: Any, aligned: Path, tmp_path: Path) -> None:
    assert "--to OWNER/NAME" in refused(aligned)
    assert "OWNER/NAME" in refused(aligned, "--to", "nothing")
    assert "is the base model" in refused(aligned, "--to", BASE)
    assert "leave out --base" in refused(aligned, "--to", "bob/ppo", "--base", "acme/other")
    assert "align.json" in refused(broken(aligned, tmp_path), "--to", "bob/ppo")
    hosted.create_repo("model", "bob/open")
    assert "public" in refused(aligned, "--to", "bob/open", "--private")


def broken(folder: Path, tmp_path: Path) -> Path:
    copy = Path(shutil.copytree(folder, tmp_path / "broken"))
    (copy / "align.json").unlink()
    return copy
