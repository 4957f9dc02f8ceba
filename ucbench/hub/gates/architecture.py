"""Can ucbench ask it? By config.json and the processor's files alone, without any code of the repository."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ucbench.errors import ModelError
from ucbench.hub.gates.base import Finding, Note, Refused, Subject, quoted

_SERVE = (
    "serve it behind an OpenAI-compatible server, evaluate it with `ucbench evaluate --endpoint`, and "
    "publish the run with `ucbench publish`"
)
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
_PROCESSORS = ("processor_config.json", "preprocessor_config.json")


def look_at_code(subject: Subject) -> Finding:
    """No code of its own. It is never fetched nor run, so only models that need it are refused."""
    needed = [what for what, known in _mapped(subject) if not known]
    if needed:
        raise Refused(
            f"it needs Python code from its own repository ({needed[0]}), which is never run",
            f"push a version that transformers loads without trust_remote_code, or {_SERVE}",
        )
    assert subject.info is not None
    scripts = sorted(path for path in subject.files if path.lower().endswith((".py", ".pyc", ".so")))
    told = []
    if any(True for _ in _mapped(subject)):
        told.append("its auto_map names code of its own")
    elif "custom_code" in subject.info.tags:
        told.append("it is tagged custom_code")
    if scripts:
        more = f" and {len(scripts) - 1} more" if len(scripts) > 1 else ""
        told.append(f"it holds {quoted(scripts[0])}{more}")
    if told:
        return Note(f"{' and '.join(told)}; none of it is fetched or run, transformers' own code is used")
    return "none of its own"


def look_at_architecture(subject: Subject) -> Finding:
    """An image-text model that transformers has, or that a family of ours knows."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    )

    from ucbench.models import known
    from ucbench.models.families import FAMILIES
    from ucbench.models.guards import ALL

    try:
        known.check_runs_here(subject.model)
    except ModelError as error:
        raise Refused(*_halves(str(error))) from None
    if not subject.has("config.json"):
        raise Refused(
            "there is no config.json, so it is no checkpoint in the transformers format",
            "convert it and push it with save_pretrained",
        )
    config = subject.json("config.json")
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in CONFIG_MAPPING_NAMES:
        import transformers

        raise Refused(
            f"config.json names the model_type {quoted(model_type)}, which transformers "
            f"{transformers.__version__} does not have",
            _SERVE,
        )
    if model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        if model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            raise Refused(
                f"it is a language model without eyes ({model_type}); the benchmark shows pictures",
                "submit a model that takes pictures and text",
            )
        raise Refused(
            f"{model_type} models do not answer questions about pictures",
            "submit a model that takes pictures and text and writes text",
        )
    if _is_encoder_decoder(model_type, config):
        raise Refused(f"{model_type} here is an encoder-decoder model, which ucbench does not ask", _SERVE)
    for part in parts(config):
        if part.get("quantization_config") is not None:
            raise Refused(
                "its weights are quantised, so that its scores would not be those of the dtype on the board",
                "submit the weights before quantisation",
            )
    architectures = config.get("architectures")
    named = architectures[0] if isinstance(architectures, list) and architectures else None
    subject.architecture = named[:100] if isinstance(named, str) and named.isidentifier() else model_type
    family = FAMILIES.get(model_type)
    row = known.find(subject.model)
    guard = row.guard if row else next((g.name for g in ALL if g.recognises(model_type, "")), None)
    if guard:
        return f"{model_type}, asked as the guard {guard}"
    if family is None:
        return Note(f"{model_type}, of no known family: it is asked one question at a time, which takes long")
    return f"{model_type}, of the family {family.name}"


def look_at_processor(subject: Subject) -> Finding:
    """What turns pictures and text into the model's input: files there, classes known."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    files = [path for path in _PROCESSORS if subject.has(path)]
    if not files:
        raise Refused(
            "it has no processor: neither processor_config.json nor preprocessor_config.json",
            "save the processor beside the model (AutoProcessor ... save_pretrained) and push it",
        )
    if not any(subject.has(path) for path in _TOKENIZERS):
        raise Refused("it has no tokenizer", "save the processor beside the model and push all of its files")
    # The pictures' part stands in its own file or within the processor's.
    settings = subject.json("preprocessor_config.json")
    nested = subject.json("processor_config.json").get("image_processor")
    if isinstance(nested, dict):
        settings = nested
    named = settings.get("image_processor_type") or settings.get("feature_extractor_type")
    if named is None:
        return f"{', '.join(files)}, of the model's type"
    base = str(named).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    known = {
        name.removesuffix("Fast").removesuffix("Pil")
        for row in IMAGE_PROCESSOR_MAPPING_NAMES.values()
        for name in row.values()
        if isinstance(name, str)
    }
    if base not in known:
        raise Refused(f"its image processor {quoted(named)} is none that transformers has", _SERVE)
    return f"{', '.join(files)} with {base}"


def parts(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A config and every config nested in it."""
    yield config
    for value in config.values():
        if isinstance(value, dict):
            yield from parts(value)


def _mapped(subject: Subject) -> Iterator[tuple[str, bool]]:
    """(what an auto_map stands for, whether transformers has it without the repository's code)."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.processing_auto import PROCESSOR_MAPPING_NAMES
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    for part in parts(subject.json("config.json")):
        if "auto_map" in part:
            yield (
                f"the model_type {quoted(part.get('model_type'))}",
                part.get("model_type") in CONFIG_MAPPING_NAMES,
            )
    tokenizers = _plain(TOKENIZER_MAPPING_NAMES.values()) | {"PreTrainedTokenizer", "TokenizersBackend"}
    images = _plain(
        name for row in IMAGE_PROCESSOR_MAPPING_NAMES.values() for name in row.values() if name is not None
    )
    processors = _plain(PROCESSOR_MAPPING_NAMES.values())
    for path, key, wanted, known in (
        ("tokenizer_config.json", "tokenizer_class", "AutoTokenizer", tokenizers),
        ("processor_config.json", "processor_class", "AutoProcessor", processors),
        ("preprocessor_config.json", "processor_class", "AutoProcessor", processors),
        ("preprocessor_config.json", "image_processor_type", "AutoImageProcessor", images),
    ):
        settings = subject.json(path)
        mapped = settings.get("auto_map")
        if isinstance(mapped, dict) and wanted in mapped:
            named = settings.get(key)
            yield f"{wanted} in {path}", isinstance(named, str) and _plain([named]) <= known


def _plain(names: Any) -> set[str]:
    """Names of classes without what tells apart their fast and slow versions."""
    flat = (inner for name in names for inner in (name if isinstance(name, tuple | list) else (name,)))
    return {str(name).removesuffix("Fast").removesuffix("Pil") for name in flat if name}


def _is_encoder_decoder(model_type: str, config: dict[str, Any]) -> bool:
    """By the defaults of its types: a config of the repository's is never made into an object here.

    One that asks for a billion labels would fill the memory.
    """
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING, CONFIG_MAPPING_NAMES

    if isinstance(stated := config.get("is_encoder_decoder"), bool):
        return stated
    inner = config.get("text_config")
    types = [model_type, inner.get("model_type") if isinstance(inner, dict) else None]
    for name in types:
        if isinstance(name, str) and name in CONFIG_MAPPING_NAMES:
            try:
                if CONFIG_MAPPING[name]().is_encoder_decoder:
                    return True
            except ValueError:  # of a type that has no defaults, as vision-encoder-decoder
                return True
    return False


def _halves(sentence: str) -> tuple[str, str]:
    found, _, advice = sentence.partition("; ")
    return found, advice
