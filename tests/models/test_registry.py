"""Names, identities, and checkpoints that are not what they should be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ucbench.errors import AccessError, ModelError, UcbenchError, UnknownNameError
from ucbench.models import registry
from ucbench.models.checkpoint import digest
from ucbench.record import Decoding

DECODING = Decoding(max_new_tokens=4)


def load(name: object, **options: str) -> object:
    return registry.load(str(name), decoding=DECODING, **{"device": "cpu", **options})  # type: ignore[arg-type]


@pytest.fixture
def copy(llava: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(llava, tmp_path / "copy"))


def edit(path: Path, change: Callable[[dict], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def assert_one_sentence(error: UcbenchError, *words: str) -> None:
    message = str(error)
    assert "\n" not in message
    assert len(message) < 450
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    "name", ["tiny", "embedded:huge", "", "a/b/c", "/nowhere/at/all", "x" * 5000, "nul\0"]
)
def test_unknown_names_list_what_is_possible(name: str) -> None:
    with pytest.raises(UnknownNameError) as caught:
        load(name)
    assert "embedded:tiny-vlm" in str(caught.value)
    assert "folder" in str(caught.value)


@pytest.mark.parametrize(
    "options", [{"dtype": "float8"}, {"device": "abacus"}, {"device": "cuda:77"}, {"revision": "main"}]
)
def test_unknown_options(llava: Path, options: dict[str, str]) -> None:
    import torch

    if options.get("device") == "cuda:77" and torch.cuda.is_available():
        pytest.skip("has a GPU")
    with pytest.raises(UnknownNameError) as caught:
        load(llava, **options)
    assert_one_sentence(caught.value, *options.values())


def test_entry_of_a_folder(llava: Path) -> None:
    entry = load(llava).entry  # type: ignore[attr-defined]
    assert entry.model == "local:tiny-llava"
    assert str(llava.parent) not in entry.model_dump_json()
    assert entry.revision == digest(llava)
    assert entry.dtype == "float32"
    assert entry.decoding == DECODING


def test_dtype_is_the_actual_one(llava: Path) -> None:
    assert load(llava, dtype="bfloat16").entry.dtype == "bfloat16"  # type: ignore[attr-defined]
    assert load(llava, dtype="auto").entry.dtype == "float32"  # type: ignore[attr-defined]


def test_digest_sees_what_changes_answers_and_nothing_else(copy: Path, llava: Path) -> None:
    assert digest(copy) == digest(llava)
    (copy / "README.md").write_text("a card")
    (copy / "optimizer.pt").write_text("state")
    assert digest(copy) == digest(llava)
    for name in ("chat_template.jinja", "config.json", "tokenizer.json", "model.safetensors"):
        before = digest(copy)
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        assert digest(copy) != before


def test_truncated_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "model.safetensors", "cut short")


def test_weights_that_are_noise(copy: Path) -> None:
    (copy / "model.safetensors").write_bytes(os.urandom(4096))
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "damaged")


def test_missing_weights_are_not_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights[min(weights)]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "lacks 1 weight")


def test_weights_of_another_shape(copy: Path) -> None:
    edit(copy / "config.json", lambda config: config["text_config"].update(intermediate_size=80))
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "local:copy")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
def test_pickles_are_never_opened(copy: Path, name: str) -> None:
    (copy / "model.safetensors").unlink()
    (copy / name).write_bytes(b"not even a pickle")
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "safetensors", "pickle")


def test_no_weights(copy: Path) -> None:
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights"):
        load(copy)


@pytest.mark.parametrize("shard", ["model-00002.safetensors", "../outside.safetensors", 3])
def test_broken_index(copy: Path, shard: object) -> None:
    index = {"weight_map": {"a": "model.safetensors", "b": shard}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "local:copy")


@pytest.mark.parametrize("content", [None, "", "{", "[]", "\xff\xfe"])
def test_missing_or_broken_config(copy: Path, content: str | None) -> None:
    path = copy / "config.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "config.json")


@pytest.mark.parametrize("model_type", ["llama", "clip", "unheard-of", None])
def test_not_an_image_text_model(copy: Path, model_type: str | None) -> None:
    edit(copy / "config.json", lambda config: config.update(model_type=model_type))
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "image-text")


@pytest.mark.parametrize("nested", [False, True])
def test_code_of_a_checkpoint_is_never_run(copy: Path, tmp_path: Path, nested: bool) -> None:
    marker = tmp_path / "was-run"
    (copy / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    auto_map = {"AutoConfig": "evil.Config", "AutoModel": "evil.M", "AutoModelForImageTextToText": "evil.M"}

    def poison(config: dict) -> None:
        (config["text_config"] if nested else config).update(model_type="evil", auto_map=auto_map)

    edit(copy / "config.json", poison)
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "auto_map")
    assert not marker.exists()


def test_code_beside_a_known_architecture_is_ignored(copy: Path, tmp_path: Path) -> None:
    marker = tmp_path / "was-run"
    (copy / "evil.py").write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    names = (
        "AutoConfig",
        "AutoModelForImageTextToText",
        "AutoProcessor",
        "AutoTokenizer",
        "AutoImageProcessor",
    )
    auto_map = dict.fromkeys(names, "evil.X")
    for name in ("config.json", "processor_config.json", "tokenizer_config.json"):
        edit(copy / name, lambda content: content.update(auto_map=auto_map))
    load(copy)
    assert not marker.exists()


def test_adapter_folder(copy: Path) -> None:
    (copy / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelError, match="adapter"):
        load(copy)


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json"])
def test_missing_tokenizer_or_processor(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "local:copy")


def test_missing_chat_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "chat template", "chat_template.jinja")


def test_a_chat_template_that_only_the_tokenizer_has(copy: Path) -> None:
    template = (copy / "chat_template.jinja").read_text()
    expected = load(copy).prompts.render("Is it safe?")
    (copy / "chat_template.jinja").unlink()
    settings = json.loads((copy / "tokenizer_config.json").read_text())
    (copy / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    assert load(copy).prompts.render("Is it safe?") == expected


def test_broken_chat_template(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{% for %}")
    with pytest.raises(ModelError) as caught:
        load(copy)
    assert_one_sentence(caught.value, "chat template")


def test_template_without_an_image(copy: Path) -> None:
    (copy / "chat_template.jinja").write_text("{{ messages[0]['content'][1]['text'] }}")
    with pytest.raises(ModelError, match="0 image placeholders"):
        load(copy)


def test_template_that_drops_the_system_prompt(copy: Path) -> None:
    template = "{{ bos_token }}<image>{{ (messages | last)['content'][1]['text'] }}"
    (copy / "chat_template.jinja").write_text(template)
    load(copy)
    with pytest.raises(ModelError, match="system prompt"):
        load(copy, system_prompt="Be careful.")


def test_a_processor_that_forgot_its_patches(copy: Path, llava15: Path) -> None:
    """Old checkpoints leave both fields to the model's config."""
    folder = Path(shutil.copytree(llava15, copy.parent / "old"))

    def forget(content: dict) -> None:
        for name in ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"):
            content.pop(name)

    edit(folder / "processor_config.json", forget)
    old, new = load(folder), load(llava15)
    for name in ("patch_size", "vision_feature_select_strategy", "num_additional_image_tokens"):
        assert getattr(old._processor, name) == getattr(new._processor, name)  # type: ignore[attr-defined]


def test_loading_is_quiet(llava: Path) -> None:
    """Nothing of transformers' on the terminal, loading and answering."""
    script = (
        "import sys; from PIL import Image; from ucbench.models import registry;"
        "from ucbench.record import Decoding;"
        "decoding = Decoding(max_new_tokens=4, temperature=1.0);"
        "vlm = registry.load(sys.argv[1], decoding=decoding, device='cpu');"
        "list(vlm.stream(Image.new('RGB', (8, 8)), 'Is it safe?'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(llava)], capture_output=True, text=True, check=True, timeout=200
    )
    assert done.stdout == ""
    assert done.stderr == ""


def hub(script: str, tmp_path: Path, **environment: str) -> str:
    """Run a script that loads from the Hub in a process of its own; return what it prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, "HF_HOME": str(tmp_path / "hub"), **environment},
        capture_output=True, text=True, check=True, timeout=200,
    )  # fmt: skip
    return done.stdout


FETCH = """
from ucbench.errors import UcbenchError
from ucbench.models import registry
from ucbench.record import Decoding
try:
    vlm = registry.load("owner/name", decoding=Decoding(max_new_tokens=4), device="cpu")
    print(vlm.entry.model, vlm.entry.revision)
except UcbenchError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    "environment",
    [{"HF_HUB_OFFLINE": "1"}, {"HF_ENDPOINT": "http://127.0.0.1:9"}],
    ids=["offline", "refused"],
)
def test_unreachable_hub(tmp_path: Path, environment: dict[str, str]) -> None:
    printed = hub(FETCH, tmp_path, **environment)
    assert printed.startswith(AccessError.__name__)
    assert printed.count("\n") == 1
    assert "owner/name" in printed
