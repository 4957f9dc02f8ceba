"""LoRA adapters: answers as by plain PEFT, identities, and adapters that are not what they should be."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from ucbench import evaluate
from ucbench.cli import app
from ucbench.errors import AccessError, ModelError, UcbenchError, UnknownNameError
from ucbench.models import checkpoint, registry
from ucbench.models.adapter import pinned, read
from ucbench.models.local import ONE_AT_A_TIME, LocalVLM
from ucbench.record import Decoding
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.types import Sample

BASE = "embedded:tiny-vlm"
NEW_TOKENS = 16
LANGUAGE_MODEL = r".*language_model.*\.(q|k|v|o|gate|up|down)_proj"


def train(folder: Path, *, base: str = BASE, seed: int = 0, **settings: Any) -> Path:
    """An adapter as PEFT saves it, with random weights large enough to change answers."""
    from peft import LoraConfig, get_peft_model

    options = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE_MODEL, **settings}
    model = get_peft_model(registry.load_base(base, device="cpu").loaded.model, LoraConfig(**options))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.1, generator=generator)
            elif "modules_to_save" in name:
                weight.mul_(0.5)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("adapters") / "tuned")


@pytest.fixture
def copy(adapter: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(adapter, tmp_path / "copy"))


@pytest.fixture(scope="module")
def pictograms() -> list[Sample]:
    """Two pictures, and the blank one, with a few of their questions."""
    samples = tracks.load("pictograms").samples(limit=3)
    return [replace(sample, questions=sample.questions[:5]) for sample in samples]


def load(name: object, **options: Any) -> LocalVLM:
    vlm = registry.load(
        str(name), **{"decoding": Decoding(max_new_tokens=NEW_TOKENS), "device": "cpu", **options}
    )
    assert isinstance(vlm, LocalVLM)
    return vlm


def answers(vlm: LocalVLM, samples: list[Sample]) -> dict[tuple[str, str], str]:
    return {
        (answer.sample_id, answer.question_id): answer.text
        for batch in vlm.plan(samples, 16)
        for answer in vlm.answer(batch)
    }


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def aligned(folder: Path, **changes: Any) -> None:
    """Put an align.json beside the adapter, as ucbench writes it."""
    base = {"model": BASE, "path": None, "revision": checkpoint.digest(registry.EMBEDDED[BASE])}
    content = {"method": "ppo", "base": base, "trained_on": ["pictograms/1/train"], **changes}
    (folder / "align.json").write_text(json.dumps(content))


def refused(name: object, *words: str, error: type[UcbenchError] = ModelError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        load(name, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize(
    ("dtype", "settings"),
    [
        ("float32", {}),
        ("float32", {"modules_to_save": ["multi_modal_projector"], "use_dora": True}),
        ("bfloat16", {}),
    ],
)
def test_answers_equal_plain_peft(
    dtype: str, settings: dict[str, Any], tmp_path: Path, pictograms: list[Sample]
) -> None:
    """`PeftModel.generate`, one question at a time, from transformers' and PEFT's own loaders."""
    from peft import PeftModel
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = train(tmp_path / "tuned", **settings)
    base = registry.EMBEDDED[BASE]
    processor = AutoProcessor.from_pretrained(base, backend="pil")
    whole = AutoModelForImageTextToText.from_pretrained(base, dtype=getattr(torch, dtype))
    model = PeftModel.from_pretrained(whole, folder, torch_device="cpu").eval()
    vlm = load(folder, dtype=dtype)
    if dtype == "bfloat16":  # whose rounding depends on who shares the batch
        vlm.use(ONE_AT_A_TIME)
    own = answers(vlm, pictograms)
    for sample in pictograms:
        for question in sample.questions:
            content = [
                {"type": "image", "image": sample.image.load()},
                {"type": "text", "text": question.text},
            ]
            inputs = processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt",
            ).to(dtype=whole.dtype)  # fmt: skip
            output = model.generate(**inputs, do_sample=False, max_new_tokens=NEW_TOKENS)
            new = output[0, inputs["input_ids"].shape[1] :]
            text = processor.tokenizer.decode(new, skip_special_tokens=True).strip()
            assert own[sample.id, question.id] == text


def test_it_changes_answers_and_shares_prefixes(adapter: Path, pictograms: list[Sample]) -> None:
    vlm = load(adapter)
    assert vlm.engine_path == "shared_prefix"
    assert answers(vlm, pictograms) != answers(load(BASE), pictograms)


def test_the_entry_names_base_adapter_and_training_items(copy: Path) -> None:
    aligned(copy)
    entry, base = load(copy).entry, load(BASE).entry
    assert entry.model == base.model
    assert entry.revision == base.revision
    assert entry.dtype == base.dtype
    assert re.fullmatch(r"local:copy@sha256:[0-9a-f]{16}", entry.adapter or "")
    assert entry.trained_on == ("pictograms/1/train",)
    assert base.adapter is None
    assert base.trained_on == ()
    assert str(copy.parent) not in entry.model_dump_json()
    assert re.fullmatch(r"embedded-tiny-vlm--local-copy-sha256-[0-9a-f]{16}", entry.slug)


def test_its_version_is_that_of_config_and_weights(copy: Path) -> None:
    before = load(copy).entry
    (copy / "README.md").write_text("a card")
    aligned(copy)
    assert load(copy).entry.adapter == before.adapter
    edit(copy / "adapter_config.json", lambda config: config.update(lora_alpha=16))
    assert load(copy).entry.adapter != before.adapter


def test_two_adapters_of_one_base_have_runs_of_their_own(adapter: Path, tmp_path: Path) -> None:
    """The same folder name, the same base, other weights."""
    other = train(tmp_path / adapter.name, seed=1)
    track = tracks.load("pictograms")
    plans = [evaluate.plan(load(name), track, out=tmp_path, limit=2) for name in (BASE, adapter, other)]
    assert len({plan.run.folder.parent for plan in plans}) == 3
    assert len({plan.run.run_id for plan in plans}) == 3


def test_an_adapter_of_a_folder(llava: Path, tmp_path: Path) -> None:
    folder = train(tmp_path / "tuned", base=str(llava))
    entry = load(folder).entry
    assert entry.model == "local:tiny-llava"
    assert entry.revision == checkpoint.digest(llava)
    assert str(llava) not in entry.model_dump_json()


def test_a_base_that_changed_since_training(llava: Path, tmp_path: Path) -> None:
    base = Path(shutil.copytree(llava, tmp_path / "base"))
    folder = train(tmp_path / "tuned", base=str(base))
    trained = {"model": "local:base", "path": str(base), "revision": checkpoint.digest(base)}
    aligned(folder, base=trained)
    load(folder)
    edit(base / "config.json", lambda config: config.update(note="another file"))
    refused(folder, trained["revision"], checkpoint.digest(base), "local:base", "local:tuned")


@pytest.mark.parametrize(
    "changes",
    [{"base": None}, {"base": {}}, {"base": {"revision": 3}}, {"trained_on": None}, {"trained_on": [1]}],
)
def test_damaged_align_json(copy: Path, changes: dict[str, Any]) -> None:
    aligned(copy, **changes)
    refused(copy, "align.json", "local:copy", "damaged")


@pytest.mark.parametrize("content", ["", "{", "[]", "\xff\xfe"])
@pytest.mark.parametrize("name", ["adapter_config.json", "align.json"])
def test_json_that_is_none(copy: Path, name: str, content: str) -> None:
    (copy / name).write_bytes(content.encode("latin-1"))
    refused(copy, name, "local:copy", "damaged")


@pytest.mark.parametrize("base", [None, "", 3, ["a/b"]])
def test_no_base_named(copy: Path, base: object) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path=base))
    refused(copy, "local:copy", "base_model_name_or_path")


@pytest.mark.parametrize("base", ["/nowhere/at/all", "embedded:huge", "tiny", "nul\0", "x" * 5000])
def test_a_base_that_is_not_here(copy: Path, base: str) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path=base))
    with pytest.raises(ModelError, match="base model of local:copy cannot be found"):
        load(copy)


def test_a_base_on_a_hub_that_cannot_be_reached(copy: Path) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path="owner/name"))
    refused(copy, "owner/name", error=AccessError)


def test_a_base_that_is_an_adapter(copy: Path, adapter: Path) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path=str(adapter)))
    refused(copy, "local:tuned is a PEFT adapter", "merge it")
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path=str(copy)))
    refused(copy, "local:copy is a PEFT adapter")


def test_an_adapter_is_no_base(adapter: Path) -> None:
    with pytest.raises(ModelError, match="PEFT adapter"):
        registry.load_base(str(adapter), device="cpu")


def test_an_adapter_beside_a_whole_model(copy: Path) -> None:
    shutil.copy(registry.EMBEDDED[BASE] / "model.safetensors", copy)
    refused(copy, "local:copy", "folders of their own")


@pytest.mark.parametrize("kind", ["IA3", "PROMPT_TUNING", "PREFIX_TUNING", "unheard-of", None, 3])
def test_other_types_of_adapters(copy: Path, kind: object) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(peft_type=kind))
    refused(copy, "local:copy", repr(kind), "LORA")


@pytest.mark.parametrize(
    "setting",
    [
        {"alora_invocation_tokens": [1, 2]},
        {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
        {"layer_replication": [[0, 2], [1, 4]]},
    ],
)
def test_settings_that_reach_beyond_the_weights(copy: Path, setting: dict[str, Any]) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(setting))
    refused(copy, "local:copy", min(setting))
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "setting",
    [{"r": "four"}, {"r": -1}, {"lora_alpha": None}, {"task_type": "x"}, {"target_modules": "("}, {"r": 8}],
)
def test_settings_that_mean_nothing(copy: Path, setting: dict[str, Any]) -> None:
    edit(copy / "adapter_config.json", lambda config: config.update(setting))
    refused(copy, "local:copy", "adapter_config.json")


@pytest.mark.parametrize("name", [None, "adapter_model.bin", "adapter_model.pt"])
def test_missing_weights_and_pickles(copy: Path, name: str | None) -> None:
    (copy / "adapter_model.safetensors").unlink()
    if name:
        (copy / name).write_bytes(b"not even a pickle")
    refused(copy, "local:copy", "safetensors", "pickle" if name else "no weights")


@pytest.mark.parametrize("content", [b"", b"noise" * 100, None])
def test_weights_cut_short(copy: Path, content: bytes | None) -> None:
    weights = copy / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100] if content is None else content)
    refused(copy, "adapter_model.safetensors", "local:copy", "cut short")


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "adapter_model.safetensors")
    change(weights)
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})


def test_weights_that_are_missing(copy: Path) -> None:
    rewrite(copy, lambda weights: weights.pop(min(weights)))
    refused(copy, "local:copy does not fit", BASE, "1 weights are missing", "layers.0.mlp.down_proj")


def test_weights_that_are_left_over(copy: Path) -> None:
    name = "base_model.model.model.vision_tower.layers.0.mlp.fc1.lora_A.weight"
    rewrite(copy, lambda weights: weights.update({name: torch.ones(4, 128)}))
    refused(copy, "local:copy does not fit", BASE, "1 weights are left over", "vision_tower")


def test_an_adapter_of_another_architecture(copy: Path, llava: Path) -> None:
    """The same names of layers, other shapes; and a regex that finds nothing."""
    edit(copy / "adapter_config.json", lambda config: config.update(base_model_name_or_path=str(llava)))
    refused(copy, "local:copy does not fit", str(llava), "size mismatch")
    edit(copy / "adapter_config.json", lambda config: config.update(target_modules=r".*query_key_value"))
    refused(copy, "local:copy does not fit", "query_key_value")


def test_a_module_to_save_whose_weights_are_not_there(copy: Path) -> None:
    edit(copy / "adapter_config.json", lambda c: c.update(modules_to_save=["multi_modal_projector"]))
    refused(copy, "local:copy does not fit", "multi_modal_projector")


def test_a_folder_has_no_revision(adapter: Path) -> None:
    refused(adapter, "revision", "main", error=UnknownNameError, revision="main")


@pytest.mark.parametrize("options", [{"device": "abacus"}, {"dtype": "int3"}])
def test_options_are_checked_as_ever(adapter: Path, options: dict[str, str]) -> None:
    refused(adapter, *options.values(), error=UnknownNameError, **options)


def test_the_system_prompt_and_sampling_go_with_it(adapter: Path, pictograms: list[Sample]) -> None:
    decoding = Decoding(temperature=1.0, max_new_tokens=8, seed=1)
    vlm = load(adapter, decoding=decoding)
    assert vlm.entry.decoding == decoding
    assert answers(vlm, pictograms[:1]) == answers(load(adapter, decoding=decoding), pictograms[:1])


def test_the_training_split_is_refused(copy: Path, tmp_path: Path) -> None:
    aligned(copy)
    vlm, track = load(copy), tracks.load("pictograms")
    with pytest.raises(UcbenchError, match="trained on the train split of pictograms") as caught:
        evaluate.plan(vlm, track, out=tmp_path, split="train", limit=2)
    assert "--split test" in str(caught.value)
    assert evaluate.plan(vlm, track, out=tmp_path, split="test", limit=2).samples


def test_the_command_line(copy: Path, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    aligned(copy)
    arguments = ["evaluate", str(copy), "--limit", "1", "--max-new-tokens", "40", "--device", "cpu"]
    arguments += ["--out", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "Warning" not in done.output
    assert not [warning for warning in recwarn if "peft" in str(warning.filename)]
    record = Run(next((tmp_path / "runs").glob("*/*"))).record()
    assert record.status == "partial"
    assert record.entry == load(copy, decoding=Decoding(max_new_tokens=40)).entry
    assert record.counts.questions == record.counts.answered + record.counts.na
    assert "local:copy" in str(CliRunner().invoke(app, [*arguments, "--split", "train"]).exception)
    assert len(list((tmp_path / "runs").glob("*/*"))) == 1


SHA, BASE_SHA = "0123456789abcdef0123456789abcdef01234567", "89abcdef0123456789abcdef0123456789abcdef"

FROM_THE_HUB = """
import sys
from ucbench.models import registry
from ucbench.record import Decoding
for pin in ("revision", "align", "tag"):
    told = sys.argv[1] if pin == "tag" else None  # its config says v1.0
    entry = registry.load(f"owner/{pin}", decoding=Decoding(max_new_tokens=4), device="cpu",
                          base_revision=told).entry
    print(entry.model, entry.revision, entry.adapter, entry.slug)
"""


def test_an_adapter_and_its_base_from_the_hub(adapter: Path, tmp_path: Path) -> None:
    """As downloaded before; `main` of the base has moved on since. Adapter or training names the commit."""

    def keep(name: str, folder: Path, sha: str, main: str) -> None:
        repository = tmp_path / "hub" / "hub" / f"models--owner--{name}"
        shutil.copytree(folder, repository / "snapshots" / sha)
        (repository / "refs").mkdir(exist_ok=True)
        (repository / "refs" / "main").write_text(main)

    for pin, revision in {"revision": BASE_SHA, "align": None, "tag": "v1.0"}.items():
        copy = Path(shutil.copytree(adapter, tmp_path / pin))
        named = {"base_model_name_or_path": "owner/base", "revision": revision}
        edit(copy / "adapter_config.json", lambda config, named=named: config.update(named))  # type: ignore[misc]
        if pin == "align":
            aligned(copy, base={"model": "owner/base", "path": None, "revision": BASE_SHA})
        keep(pin, copy, SHA, SHA)
    keep("base", registry.EMBEDDED[BASE], BASE_SHA, "f" * 40)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", FROM_THE_HUB, BASE_SHA],
        env={**clean, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"owner/base {BASE_SHA} owner/{pin}@{SHA} owner-base--owner-{pin}-{SHA}"
        for pin in ("revision", "align", "tag")
    ]


def test_a_base_is_put_on_another_revision_only_where_the_adapter_names_none(copy: Path) -> None:
    named = read(copy, "owner/tuned", SHA)
    assert pinned(named, None) == named
    for own in (None, "main", "v1.0"):
        assert pinned(replace(named, base_revision=own), BASE_SHA).base_revision == BASE_SHA
    held = replace(named, base_revision=BASE_SHA)
    assert pinned(held, BASE_SHA) == held
    with pytest.raises(ModelError, match=f"stands on .* at {BASE_SHA}"):
        pinned(held, SHA)
    with pytest.raises(UnknownNameError, match="is no adapter, so it has no base"):
        load(BASE, base_revision=BASE_SHA)
