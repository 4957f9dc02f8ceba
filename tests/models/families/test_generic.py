"""Models of no family: asked through their own processor and chat template, one question at a time.

What they answer is compared with plain transformers in test_families.py.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ucbench.errors import ModelError
from ucbench.models import registry
from ucbench.models.families import FAMILIES
from ucbench.models.local import LocalVLM
from ucbench.record import Decoding
from ucbench.types import Answer, Sample

DECODING = Decoding(max_new_tokens=6)


def answers(folder: Path, samples: list[Sample]) -> list[Answer]:
    vlm = registry.load(str(folder), decoding=DECODING, device="cpu")
    assert isinstance(vlm, LocalVLM)
    vlm.use("one_at_a_time")
    return [answer for batch in vlm.plan(samples, 8) for answer in vlm.answer(batch)]


@pytest.mark.parametrize(
    "architecture",
    ["llava", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "idefics3", "gemma3", "internvl", "llava_onevision",
     "mllama"],
)  # fmt: skip
def test_without_its_family_an_architecture_answers_the_same(
    architecture: str,
    checkpoint: Callable[..., Path],
    pictures: list[Sample],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A family makes a model faster, never different."""
    folder = checkpoint(architecture)
    expected = answers(folder, pictures)
    monkeypatch.setattr("ucbench.models.loading.FAMILIES", {})
    assert answers(folder, pictures) == expected


@pytest.mark.parametrize("architecture", ["llava_next", "glm4v", "gemma4"])
def test_a_model_without_family_and_chat_template(
    architecture: str, checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    assert architecture not in FAMILIES
    copy = Path(shutil.copytree(checkpoint(architecture), tmp_path / "copy"))
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError) as caught:
        registry.load(str(copy), decoding=DECODING, device="cpu")
    assert str(caught.value) == (
        "local:copy has no chat template; put the model's own chat_template.jinja into the checkpoint"
    )


@pytest.mark.parametrize("architecture", ["pixtral", "smolvlm"])
def test_a_processor_that_needs_a_package_names_it_and_the_way_out(
    architecture: str, checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What happens to an architecture for which there is no processor of ours."""
    from importlib.util import find_spec

    package = {"pixtral": "torchvision", "smolvlm": "num2words"}[architecture]
    if find_spec(package):
        pytest.skip(f"{package} is installed here")
    monkeypatch.setattr("ucbench.models.loading.FAMILIES", {})
    with pytest.raises(ModelError) as caught:
        registry.load(str(checkpoint(architecture)), decoding=DECODING, device="cpu")
    assert str(caught.value) == (
        f"the processor of local:{architecture} needs the package {package}; install it with "
        f"`pip install {package}`, or serve the model and evaluate it with --endpoint"
    )
