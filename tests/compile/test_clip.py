"""CLIP through the real loading path: the numbers of the model itself, and checkpoints that are refused."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ucbench.compile import clip
from ucbench.errors import ModelError, UnknownNameError

TINY_VLM = Path(clip.__file__).parents[1] / "models" / "embedded" / "tiny-vlm"


def picture(content: bytes) -> Any:
    return Image.open(io.BytesIO(content))


def test_similarity_is_that_of_the_model_itself(encoder: clip.Encoder, clip_folder: Path, shape: Any) -> None:
    import torch
    from transformers import CLIPModel

    images = [picture(shape(name, 7)) for name in ("red circle", "green square", "violet circle")]
    prompts = ["red circle", "a picture of green square"]
    ours = encoder.texts(prompts) @ encoder.images([encoder.prepare(image) for image in images]).T
    model = CLIPModel.from_pretrained(clip_folder).eval()
    inputs = encoder.processor(text=prompts, images=images, return_tensors="pt", padding=True)
    with torch.no_grad():
        out = model(**{k: inputs[k] for k in ("input_ids", "attention_mask", "pixel_values")})
        theirs = (out.logits_per_text / model.logit_scale.exp()).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_vectors_have_length_one_and_do_not_depend_on_the_batch(encoder: clip.Encoder, shape: Any) -> None:
    prepared = [encoder.prepare(picture(shape("red circle", seed))) for seed in range(5)]
    together = encoder.images(prepared)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-4)
    alone = np.concatenate([encoder.images([one]) for one in prepared])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_what_does_not_fit_is_halved(encoder: clip.Encoder, shape: Any) -> None:
    import torch

    class Small:
        """The model on a device with room for two pictures."""

        device, dtype = encoder.model.device, encoder.model.dtype

        def __init__(self, room: int) -> None:
            self.room = room

        def get_image_features(self, pixel_values: Any) -> Any:
            if len(pixel_values) > self.room:
                raise torch.OutOfMemoryError("no room")
            return encoder.model.get_image_features(pixel_values=pixel_values)

    prepared = [encoder.prepare(picture(shape("red circle", seed))) for seed in range(5)]
    small = clip.Encoder("small", "0", Small(2), encoder.processor)
    np.testing.assert_allclose(small.images(prepared), encoder.images(prepared), atol=1e-4)
    with pytest.raises(ModelError, match="no room"):
        clip.Encoder("small", "0", Small(0), encoder.processor).images(prepared)


def test_a_prompt_that_would_be_cut_is_refused(encoder: clip.Encoder) -> None:
    with pytest.raises(ModelError, match="22 tokens"):
        encoder.texts(["red circle", "red " * 20])


def test_the_revision_is_that_of_the_files(encoder: clip.Encoder, clip_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "copy")
    assert clip.load(str(tmp_path / "copy"), device="cpu").revision == encoder.revision
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps(config | {"note": 1}))
    assert clip.load(str(tmp_path / "copy"), device="cpu").revision != encoder.revision


def test_checkpoints_that_cannot_be_used_are_refused(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has not CLIP's shape \(model_type 'llava'\)"):
        clip.load(str(TINY_VLM))
    pickled = tmp_path / "pickled"
    shutil.copytree(clip_folder, pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickles only"):
        clip.load(str(pickled))
    cut = tmp_path / "cut"
    shutil.copytree(clip_folder, cut)
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelError, match="cut short"):
        clip.load(str(cut))
    bare = tmp_path / "bare"
    shutil.copytree(clip_folder, bare)
    (bare / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"cannot be loaded|lacks a tokenizer"):
        clip.load(str(bare))


def test_missing_weights_are_not_made_up(clip_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(clip_folder, tmp_path / "part")
    weights = load_file(tmp_path / "part" / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, tmp_path / "part" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lacks 1 weights, such as visual_projection\.weight"):
        clip.load(str(tmp_path / "part"))


@pytest.mark.parametrize("wrong", [{"device": "abacus"}, {"dtype": "int8"}])
def test_a_device_or_dtype_that_is_none_is_said(clip_folder: Path, wrong: dict[str, str]) -> None:
    with pytest.raises(UnknownNameError):
        clip.load(str(clip_folder), **wrong)  # type: ignore[arg-type]
