"""Loading a checkpoint: safetensors only, never its code, and quietly."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucbench.errors import ModelError, UnknownNameError
from ucbench.models import checkpoint
from ucbench.models.families import FAMILIES, Family

#: Below this many parameters a CPU decodes no faster on several threads, and several times slower as soon
#: as another program wants one of the cores: every small operation then waits for the thread that is out.
ONE_THREAD_BELOW = 30_000_000

DTYPES = ("float32", "bfloat16", "float16", "auto")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode on its device, with its processor; `family` is None when unknown."""

    model: Any
    processor: Any
    family: Family | None
    dtype: str


def load_folder(
    folder: Path, *, name: str, dtype: str | None, device: str | None, quantise: str | None = None
) -> Loaded:
    """Load an image-text checkpoint.

    `dtype` defaults to float32 on CPU and to the checkpoint's own elsewhere; `device` to CUDA when
    there is one; `quantise="nf4"` keeps the weights in 4 bits.
    Raises `ModelError` in one sentence for whatever is wrong with the checkpoint,
    `UnknownNameError` for a dtype or device that does not exist.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        target = torch.device(device)
    except RuntimeError as error:
        raise UnknownNameError(f"{device!r} is no device; use cpu, cuda or cuda:0") from error
    if target.type not in ("cpu", "cuda", "mps"):
        raise UnknownNameError(f"models do not run on {device!r}; use cpu, cuda or cuda:0")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UnknownNameError(f"there is no {device} on this machine; use --device cpu")
    dtype = dtype or ("float32" if target.type == "cpu" else "auto")
    if dtype not in DTYPES:
        raise UnknownNameError(f"{dtype!r} is no dtype; use one of {', '.join(DTYPES)}")

    config = checkpoint.check(folder, name)
    quantised = _four_bits(target.type) if quantise else {}
    _silence()
    try:
        processor = AutoProcessor.from_pretrained(folder, trust_remote_code=False, backend="pil")
        model, report = AutoModelForImageTextToText.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **quantised,
        )
        # transformers fills what is missing with random numbers; such a model must not be measured.
        if report["missing_keys"]:
            example = min(report["missing_keys"])
            raise ModelError(f"{name} lacks {len(report['missing_keys'])} weights, such as {example}")
        model = model.eval() if quantised else model.eval().to(target)
        small = target.type == "cpu" and model.num_parameters() < ONE_THREAD_BELOW
        if small and "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(1)
    except ModelError:
        raise
    except torch.OutOfMemoryError as error:
        raise ModelError(f"{name} does not fit into the memory of {device}; use a smaller dtype") from error
    except Exception as error:  # Anything can be wrong with files that others wrote.
        raise ModelError(f"{name} cannot be loaded: {first_line(error)}") from error
    if getattr(processor, "tokenizer", None) is None or getattr(processor, "image_processor", None) is None:
        raise ModelError(f"{name} lacks a tokenizer or an image processor; its checkpoint is incomplete")
    if model.config.is_encoder_decoder:
        raise ModelError(f"{name} is an encoder-decoder model, which the local engine does not ask")
    family = FAMILIES.get(str(config["model_type"]))
    if family:
        family.complete(processor, model.config)
    return Loaded(model, processor, family, str(model.dtype).removeprefix("torch."))


def _four_bits(device_type: str) -> dict[str, Any]:
    """Arguments that load weights as NF4 with double quantisation. Raises `ModelError` without CUDA."""
    from importlib.util import find_spec

    import torch
    from transformers import BitsAndBytesConfig

    if device_type != "cuda" or find_spec("bitsandbytes") is None:
        raise ModelError(
            "4-bit weights (quantise nf4) need a CUDA device and the package bitsandbytes; "
            "use --set quantise=null for the whole ones"
        )
    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return {"quantization_config": config, "device_map": {"": torch.cuda.current_device()}}


def first_line(error: Exception) -> str:
    """The first line of an error of others', for one sentence of ours."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _silence() -> None:
    """Keep transformers' bars and warnings out of the command line's output."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
