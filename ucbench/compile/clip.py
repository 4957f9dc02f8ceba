"""CLIP: texts and pictures as points on one sphere, so that their cosine says how well they fit.

Any checkpoint of CLIP's shape does (an image tower, a text tower, one space), from the Hub or a folder,
with safetensors weights and no code of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ucbench.errors import ModelError, UnknownNameError
from ucbench.models import checkpoint

if TYPE_CHECKING:
    from PIL import Image

#: What the paper ranks with.
DEFAULT = "openai/clip-vit-large-patch14"

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """A loaded model; `revision` is a commit, or a digest of a folder's files."""

    name: str
    revision: str
    model: Any
    processor: Any

    @property
    def dtype(self) -> str:
        """Of the weights."""
        return str(self.model.dtype).removeprefix("torch.")

    def prepare(self, image: Image.Image) -> Floats:
        """One RGB picture as the model takes it: [channels, height, width]. Safe to call in threads."""
        pixels = self.processor.image_processor(images=[image], return_tensors="np")["pixel_values"]
        return np.asarray(pixels[0], dtype=np.float32)

    def images(self, prepared: Sequence[Floats]) -> Floats:
        """Unit vectors of prepared pictures: [n, d]. What does not fit into memory is halved.

        Raises `ModelError` when a single picture does not fit.
        """
        import torch

        try:
            pixels = torch.from_numpy(np.stack(prepared)).to(self.model.device, self.model.dtype)
            with torch.inference_mode():
                return _unit(self.model.get_image_features(pixel_values=pixels))
        except torch.OutOfMemoryError as error:
            if len(prepared) == 1:
                raise ModelError(
                    f"{self.name} has no room on {self.model.device} for one picture; use --device cpu"
                ) from error
        torch.cuda.empty_cache()
        half = len(prepared) // 2
        return np.concatenate([self.images(prepared[:half]), self.images(prepared[half:])])

    def texts(self, prompts: Sequence[str]) -> Floats:
        """Unit vectors of texts: [n, d]. Raises `ModelError` for a text longer than the model reads."""
        import torch

        tokenizer = self.processor.tokenizer
        limit = self._most_tokens()
        for prompt in prompts:
            length = len(tokenizer(prompt)["input_ids"])
            if length > limit:
                raise ModelError(
                    f"the prompt {prompt[:40]!r}... has {length} tokens and {self.name} reads {limit}; "
                    "shorten it"
                )
        # SigLIP was trained on padded texts; CLIP does not mind.
        encoded = tokenizer(list(prompts), padding="max_length", max_length=limit, return_tensors="pt")
        inputs = {
            key: encoded[key].to(self.model.device)
            for key in ("input_ids", "attention_mask")
            if key in encoded
        }
        with torch.inference_mode():
            return _unit(self.model.get_text_features(**inputs))

    def _most_tokens(self) -> int:
        config = getattr(self.model.config, "text_config", self.model.config)
        return int(min(config.max_position_embeddings, self.processor.tokenizer.model_max_length))


def load(
    name: str = DEFAULT, *, revision: str | None = None, device: str | None = None, dtype: str = "float32"
) -> Encoder:
    """Load a checkpoint from a folder or the Hub; on a GPU when there is one.

    Raises `ModelError` for a checkpoint of another shape, damaged, with pickles only or with code of its
    own; `UnknownNameError`, `AccessError` for a name or device that is not to be had.
    """
    from ucbench.models.download import fetch

    folder = Path(name)
    if folder.is_dir():
        commit = checkpoint.digest(folder)
    else:
        folder, commit = fetch(name, revision)
    _check(folder, name)
    import torch
    from transformers import AutoModel, AutoProcessor

    target = _device(device)
    if dtype not in ("float32", "float16", "bfloat16"):
        raise UnknownNameError(f"{dtype!r} is no dtype; use float32, float16 or bfloat16")
    try:
        processor = AutoProcessor.from_pretrained(
            folder, trust_remote_code=False, local_files_only=True, backend="pil"
        )
        model, report = AutoModel.from_pretrained(
            folder,
            dtype=getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model = model.eval().to(target)
    except Exception as error:  # Anything can be wrong with files that others wrote.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ModelError(f"{name} cannot be loaded: {reason}") from error
    if report["missing_keys"]:
        raise ModelError(
            f"{name} lacks {len(report['missing_keys'])} weights, such as {min(report['missing_keys'])}; "
            "copy or download the checkpoint again"
        )
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} lacks a tokenizer or an image processor; its checkpoint is incomplete")
    return Encoder(name, commit, model, processor)


def _check(folder: Path, name: str) -> None:
    """Look at the checkpoint before anything in it is loaded. Raises `ModelError`."""
    config = checkpoint.read_json(folder / "config.json", name)
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_MAPPING_NAMES

    model_type = config.get("model_type")
    class_name = MODEL_MAPPING_NAMES.get(model_type) if isinstance(model_type, str) else None
    shape = getattr(transformers, class_name, None) if isinstance(class_name, str) else None
    if not (hasattr(shape, "get_image_features") and hasattr(shape, "get_text_features")):
        raise ModelError(
            f"{name} has not CLIP's shape (model_type {model_type!r}); use a checkpoint that embeds "
            f"texts and pictures in one space, such as {DEFAULT}"
        )
    for path in checkpoint.weights(folder, name):
        checkpoint.check_safetensors(path, name)


def _device(name: str | None) -> Any:
    import torch

    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise UnknownNameError(f"{name!r} is no device; use cpu, cuda or cuda:0") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UnknownNameError(f"there is no {name} on this machine; use --device cpu")
    return device


def _unit(features: Any) -> Floats:
    """Rows of length 1 in float32; newer towers return an output whose pooled part it is."""
    import torch

    pooled = getattr(features, "pooler_output", features)
    return np.asarray(torch.nn.functional.normalize(pooled.float(), dim=-1).cpu().numpy())
