"""`ucbench align` from the command line: the folder it leaves, and one sentence for whatever is wrong."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ucbench.align import run
from ucbench.align.output import read_log
from ucbench.align.settings import PPOSettings
from ucbench.errors import UcbenchError
from ucbench.models import registry
from ucbench.models.base import Batch
from ucbench.record import Decoding
from ucbench.tracks.pictograms import Pictograms
from ucbench.types import Sample

pytestmark = pytest.mark.xdist_group("align-run")

Command = Callable[..., subprocess.CompletedProcess[str]]
MODEL = "embedded:tiny-vlm"
SMALL = (
    "--batch-size", "8", "--micro-batch-size", "4", "--lr", "0.01", "--max-steps", "2",
    "--set", "max_new_tokens=16", "--set", "checkpoint_every=1", "--set", "probe_every=1",
)  # fmt: skip


def align(*arguments: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ucbench.cli", "align", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280, **kwargs)


@pytest.fixture(scope="module")
def aligned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "adapter"
    done = align(MODEL, *SMALL, "--merge", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "step 2 of 2" in done.stderr
    assert "on held-back pictures" in done.stdout
    assert f"ucbench evaluate {out}" in done.stderr
    return out


def some() -> list[Sample]:
    return Pictograms().samples(limit=4)[:4]


def answers(folder: str | Path) -> list[str]:
    vlm = registry.load(str(folder), decoding=Decoding(max_new_tokens=24))
    return [answer.text for batch in vlm.plan(some(), 16) for answer in vlm.answer(batch)]


def test_the_folder_holds_everything(aligned: Path) -> None:
    names = {path.name for path in aligned.iterdir()}
    assert names == {
        "adapter_config.json", "adapter_model.safetensors", "align.json", "train.jsonl", "README.md",
        "checkpoints", "merged",
    }  # fmt: skip
    record = json.loads((aligned / "align.json").read_text())
    assert record["base"]["model"] == MODEL
    assert record["method"] == "ppo"
    assert record["preset"] == "tiny"
    assert record["settings"]["lr"] == 0.01
    assert record["trained_on"] == ["pictograms/1/train"]
    assert record["answers"] == 16
    assert record["rewarding_judge"].startswith("classifier-")
    assert record["probe"]["judge"] == "rules-1"
    config = json.loads((aligned / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == MODEL
    assert "language_model" in config["target_modules"]
    rows = read_log(aligned / "train.jsonl")
    assert [row["step"] for row in rows] == [1, 2]
    assert all("probe_image_unsafe" in row for row in rows)


def test_the_card_has_the_numbers_before_and_after(aligned: Path) -> None:
    card = (aligned / "README.md").read_text()
    probe = json.loads((aligned / "align.json").read_text())["probe"]
    assert card.startswith("---\nbase_model: embedded:tiny-vlm\nlibrary_name: peft")
    row = next(line for line in card.splitlines() if line.startswith("| images of unsafe concepts"))
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert float(cells[1]) == pytest.approx(probe["before"]["probe_image_unsafe"], abs=0.006)
    assert float(cells[2]) == pytest.approx(probe["after"]["probe_image_unsafe"], abs=0.006)
    assert int(cells[3]) == probe["n"]["probe_image_unsafe"]
    assert "{" not in card.split("```json")[0]


def test_plain_peft_gives_the_same_answers(aligned: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    base = registry.EMBEDDED[MODEL]
    processor = AutoProcessor.from_pretrained(base, backend="pil")
    model = AutoModelForImageTextToText.from_pretrained(base, dtype=torch.float32)
    tuned = PeftModel.from_pretrained(model, aligned).eval()
    written = []
    vlm = registry.load(str(aligned), decoding=Decoding(max_new_tokens=24))
    batches: list[Batch] = vlm.plan(some(), 16)
    for batch in batches:
        for sample, question in batch.items:
            content = [{"type": "image"}, {"type": "text", "text": question.text}]
            prompt = processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            inputs = processor(
                images=sample.image.load(), text=prompt, add_special_tokens=False, return_tensors="pt"
            )
            output = tuned.generate(**inputs, max_new_tokens=24, do_sample=False)
            new = output[0, inputs["input_ids"].shape[1] :]
            written.append(processor.tokenizer.decode(new, skip_special_tokens=True).strip())
    assert written == answers(aligned)
    assert written != answers(MODEL)


def test_the_merged_model_and_the_last_checkpoint_give_the_same_answers(aligned: Path) -> None:
    expected = answers(aligned)
    assert answers(aligned / "merged") == expected
    checkpoints = sorted((aligned / "checkpoints").iterdir())
    assert answers(checkpoints[-1]) == expected
    for folder in (aligned, checkpoints[-1], aligned / "merged"):
        entry = registry.load(str(folder), decoding=Decoding()).entry
        assert entry.trained_on == ("pictograms/1/train",), folder


def test_evaluate_takes_the_folder(aligned: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "ucbench.cli", "evaluate", str(aligned), "--limit", "4"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr
    (record,) = tmp_path.glob("*/*/record.json")
    entry = json.loads(record.read_text())["entry"]
    assert entry["model"] == MODEL
    assert entry["adapter"].startswith("local:adapter@sha256:")
    assert entry["trained_on"] == ["pictograms/1/train"]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nowhere", "--judge", "classifier"], "there is no model 'nowhere'"),
        (["--method", "magic"], "there is no method 'magic'"),
        (["--preset", "huge"], "ppo has no preset 'huge'"),
        (["--lr", "0"], "--lr 0.0"),
        (["--lr", "-1"], "--lr -1.0"),
        (["--kl", "-1"], "--kl -1.0"),
        (["--judge", "rules"], "the judge rules gives no probabilities"),
        (["--track", "nothing"], "unknown track 'nothing'"),
        (["--batch-size", "6"], "--batch-size 6 must be a multiple of"),
        (["--set", "sparkle=1"], "sparkle"),
        (["--set", "quantise=nf4"], "4-bit"),
        (["--method", "sft", "--kl", "1"], "sft has no setting"),
    ],
)
def test_bad_input_is_one_sentence_and_writes_nothing(
    arguments: list[str], sentence: str, ucbench: Command, tmp_path: Path
) -> None:
    model = [] if arguments[0] == "nowhere" else [MODEL]
    out = tmp_path / "out"
    done = ucbench("align", *model, *arguments, *SMALL[-8:-6], "--out", str(out))
    assert done.returncode == 2, done.stdout
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    assert not out.exists()


def test_files_of_others_are_left_alone(ucbench: Command, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    done = ucbench("align", MODEL, *SMALL, "--out", str(tmp_path))
    assert done.returncode == 2
    assert "holds files that are no alignment" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_text_model_is_refused(ucbench: Command, tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    LlamaForCausalLM(LlamaConfig(vocab_size=16, **sizes)).save_pretrained(tmp_path / "text")
    done = ucbench("align", str(tmp_path / "text"), "--judge", "classifier", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "is no image-text model" in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unfinished_run_of_another_method_stays(aligned: Path, small: Callable[..., PPOSettings]) -> None:
    before = (aligned / "align.json").read_bytes()
    with pytest.raises(UcbenchError, match="holds a finished alignment with other settings"):
        run.align(MODEL, Pictograms(), small(seed=5), preset="tiny", out=aligned, resume=True)
    assert (aligned / "align.json").read_bytes() == before


def test_a_full_disk_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """No file may grow beyond a limit that the log keeps and the optimiser does not."""
    out = tmp_path / "out"
    first = align(MODEL, *SMALL[:6], "--max-steps", "3", *SMALL[8:10], "--set", "probe_every=0",
                  "--set", "checkpoint_every=1", "--out", str(out), preexec_fn=_limit)  # fmt: skip
    assert first.returncode == 2, first.stdout
    assert "cannot write" in first.stderr
    assert first.stderr.strip().splitlines()[-1].startswith("error: ")
    assert "Traceback" not in first.stderr
    assert not (out / "align.json").exists()
    left = list((out / "checkpoints").iterdir()) if (out / "checkpoints").exists() else []
    assert not left


def _limit() -> None:
    import signal

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def test_a_folder_that_cannot_be_written_is_one_sentence(ucbench: Command, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    done = ucbench("align", MODEL, *SMALL, "--out", str(blocked / "out"))
    assert done.returncode == 2
    assert "cannot write" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
