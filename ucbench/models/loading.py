"""Loading a checkpoint: safetensors only, never its code, and quietly."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ucbench.errors import ModelError, UnknownNameError
from ucbench.models import checkpoint
from ucbench.models.families import FAMILIES, Family
from ucbench.models.processors import load_processor
from ucbench.models.templates import OWN, TEMPLATES, Template

#: Below this many parameters a CPU decodes no faster on several threads, and several times slower as soon
#: as another program wants one of the cores: every small operation then waits for the thread that is out.
ONE_THREAD_BELOW = 30_000_000

DTYPES = ("float32", "bfloat16", "float16", "auto")
#: What transformers may compute attention with; its own choice, sdpa for most models, by default.
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in evaluation mode on its device, with its processor; `family` is None when unknown.

    `template`, `attention` and `max_pixels` are what was chosen; None is the checkpoint's own. `checkpoint`
    has `model_type` and number of parameters as they were loaded, before any adapter.
    """

    model: Any
    processor: Any
    family: Family | None
    dtype: str
    template: str | None = None
    attention: str | None = None
    max_pixels: int | None = None
    checkpoint: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """How a checkpoint is loaded.

    `dtype` defaults to float32 on CPU and to the checkpoint's own elsewhere; `device` to CUDA when there
    is one; `auto` spreads the model over all there are. `quantise="nf4"` keeps the weights in 4 bits.
    `template` names one of ours (see models/templates.py) or `own`; `max_pixels` bounds the size of
    pictures.
    """

    dtype: str | None = None
    device: str | None = None
    quantise: str | None = None
    template: str | None = None
    attention: str | None = None
    max_pixels: int | None = None


def load_folder(folder: Path, *, name: str, options: Options) -> Loaded:
    """Load an image-text checkpoint.

    Raises `ModelError` in one sentence for whatever is wrong with the checkpoint,
    `UnknownNameError` for an option that does not exist or does not fit.
    """
    import torch
    import transformers
    from transformers import AutoModelForImageTextToText

    device, target = _device(options.device)
    dtype = options.dtype or ("float32" if target.type == "cpu" else "auto")
    if dtype not in DTYPES:
        raise UnknownNameError(f"{dtype!r} is no dtype; use one of {', '.join(DTYPES)}")
    if options.attention is not None and options.attention not in ATTENTION:
        raise UnknownNameError(f"{options.attention!r} is no attention; use one of {', '.join(ATTENTION)}")

    config = checkpoint.check(folder, name)
    family = FAMILIES.get(str(config["model_type"]))
    template = _template(options.template, str(config["model_type"]), name)
    placed = _four_bits(target.type) if options.quantise else {}
    if device == "auto" and not placed:
        placed = {"device_map": "auto"}
    _silence()
    try:
        processor = load_processor(folder, config, family, name=name)
        wrapper = family.wrapper if family else None
        kind: Any = getattr(transformers, wrapper) if wrapper else AutoModelForImageTextToText
        model, report = kind.from_pretrained(
            folder,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
            **({"attn_implementation": options.attention} if options.attention else {}),
            **placed,
        )
        # transformers fills what is missing with random numbers; such a model must not be measured.
        if report["missing_keys"]:
            example = min(report["missing_keys"])
            raise ModelError(f"{name} lacks {len(report['missing_keys'])} weights, such as {example}")
        if wrapper:
            model = model.model
        model = model.eval() if placed else model.eval().to(target)
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
    if family:
        family.complete(processor, model.config)
    if template:
        processor.chat_template = template.text
    elif getattr(processor, "chat_template", None) is None:
        # Some checkpoints keep it with the tokenizer, where processors do not look.
        processor.chat_template = getattr(processor.tokenizer, "chat_template", None)
    if options.max_pixels is not None:
        _limit_pixels(processor, family, options.max_pixels, name)
    return Loaded(
        model,
        processor,
        family,
        str(model.dtype).removeprefix("torch."),
        template=options.template if template else None,
        attention=options.attention,
        max_pixels=options.max_pixels,
        checkpoint=(str(config["model_type"]), int(model.num_parameters())),
    )


def _device(device: str | None) -> tuple[str, Any]:
    """(its name, the torch device). Raises `UnknownNameError` for one that is not here."""
    import torch

    found = "cuda" if torch.cuda.is_available() else "cpu"
    device = device or found
    try:
        target = torch.device(found if device == "auto" else device)
    except RuntimeError as error:
        raise UnknownNameError(f"{device!r} is no device; use cpu, cuda, cuda:0 or auto") from error
    if target.type not in ("cpu", "cuda", "mps"):
        raise UnknownNameError(f"models do not run on {device!r}; use cpu, cuda, cuda:0 or auto")
    if target.type == "cuda" and not torch.cuda.is_available():
        raise UnknownNameError(f"there is no {device} on this machine; use --device cpu")
    return device, target


def _template(template: str | None, model_type: str, name: str) -> Template | None:
    if template in (None, OWN):
        return None
    chosen = TEMPLATES.get(str(template))
    if chosen is None:
        raise UnknownNameError(f"there is no template {template!r}; use {', '.join([OWN, *TEMPLATES])}")
    if model_type not in chosen.model_types:
        raise UnknownNameError(
            f"the template {template} is for {', '.join(chosen.model_types)} models, and {name} is a "
            f"{model_type} model; use --template {OWN}"
        )
    return chosen


def _limit_pixels(processor: Any, family: Family | None, pixels: int, name: str) -> None:
    if pixels < 1:
        raise UnknownNameError(f"max_pixels must be at least 1, not {pixels}")
    if family is None or family.limit_pixels is None:
        raise UnknownNameError(f"the size of pictures for {name} cannot be chosen; leave --max-pixels out")
    family.limit_pixels(processor, pixels)


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
