"""Loading a checkpoint's processor: without torchvision, without its code, pixels by PIL everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ucbench.errors import ModelError
from ucbench.models.checkpoint import read_json
from ucbench.models.families.base import Family

#: Packages that transformers asks for by name where a processor cannot do without.
_PACKAGES = ("torchvision", "num2words", "sentencepiece", "mistral_common", "tiktoken", "protobuf", "timm")


def load_processor(folder: Path, config: dict[str, Any], family: Family | None, *, name: str) -> Any:
    """The processor of a checkpoint that `checkpoint.check` has passed.

    Many processors of pictures carry one of videos, which needs torchvision: they are put together without
    it, and without one of sounds. Raises `ModelError` for one that needs a package that is not here.
    """
    try:
        return _load(folder, config, family)
    except (ImportError, ValueError) as error:
        # Of a class that exists for one package only, transformers says so with a ValueError.
        if isinstance(error, ValueError) and "optional dependencies" not in str(error):
            raise
        missing = next((package for package in _PACKAGES if package in str(error).lower()), None)
        if missing is None:
            raise
        raise ModelError(
            f"the processor of {name} needs the package {missing}; install it with `pip install {missing}`, "
            "or serve the model and evaluate it with --endpoint"
        ) from error


def _load(folder: Path, config: dict[str, Any], family: Family | None) -> Any:
    from transformers import AutoProcessor
    from transformers.models.auto.processing_auto import processor_class_from_name

    from_here: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    named = _class_name(folder, config)
    ours: Any = family.assemble(named) if family and named else None
    kind: Any = ours or (processor_class_from_name(named) if named else None)
    if ours or (kind and "video_processor" in kind.get_attributes()):
        return _assemble(_pictures_alone(kind), folder, from_here)
    return AutoProcessor.from_pretrained(folder, backend="pil", **from_here)


def _assemble(kind: Any, folder: Path, from_here: dict[str, Any]) -> Any:
    """Image processor and tokenizer loaded apart, and put together."""
    from transformers import AutoImageProcessor, AutoTokenizer

    parts = {
        "image_processor": AutoImageProcessor.from_pretrained(folder, backend="pil", **from_here),
        "tokenizer": AutoTokenizer.from_pretrained(folder, **from_here),
    }
    settings, rest = kind.get_processor_dict(folder, **from_here)
    for option in from_here:
        rest.pop(option, None)
    return kind.from_args_and_dict([parts.get(part) for part in kind.get_attributes()], settings, **rest)


def _pictures_alone(kind: Any) -> Any:
    """The same processor class; what it has for videos and sounds may be None."""

    def check(self: Any, argument_name: str, argument: Any) -> Any:
        if argument is None and argument_name in ("video_processor", "feature_extractor"):
            return None
        return kind.check_argument_for_proper_class(self, argument_name, argument)

    return type(kind.__name__, (kind,), {"check_argument_for_proper_class": check})


def _class_name(folder: Path, config: dict[str, Any]) -> str | None:
    """The processor class that a checkpoint names, or that transformers has for its type."""
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES

    for file in ("processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        if (folder / file).is_file():
            named = read_json(folder / file, folder.name).get("processor_class")
            if isinstance(named, str):
                return named
    usual = PROCESSOR_MAPPING_NAMES.get(config.get("model_type"))
    return usual if isinstance(usual, str) else None
