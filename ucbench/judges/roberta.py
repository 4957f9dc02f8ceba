"""The authors' response classifier: RoBERTa and a linear head on the first token's last hidden state.

Shape and state-dict names are those of `yiting/perception_classifier` and `yiting/alignment_classifier`.
Weights come as safetensors, or as the official `.pt` state dict, which is opened with `weights_only`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ucbench.errors import ModelError

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import RobertaConfig

#: Tokens that an answer is cut to, special ones counted.
MAX_TOKENS = 512
#: RoBERTa's own reading of a position: the first one comes after the padding index.
_PAD, _BOS, _EOS = "<pad>", "<s>", "</s>"
#: Keys that are present or absent without changing any output.
_TOLERATED = re.compile(r"roberta\.pooler\.|roberta\.embeddings\.position_ids$")
#: File names looked for in a folder, in this order.
WEIGHT_FILES = ("model.safetensors", "epoch_10.pt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Files of one classifier; `tokenizer` is a tokenizer.json, or a folder of vocab.json and merges.txt."""

    weights: Path
    config: Path | None
    tokenizer: Path | None


def find_checkpoint(path: Path) -> Checkpoint:
    """The files of a checkpoint given as a file or a folder. Raises `ModelError` when there are none."""
    if path.is_dir():
        found = [path / name for name in WEIGHT_FILES if (path / name).is_file()]
        found = found or sorted([*path.glob("*.safetensors"), *path.glob("*.pt")])
        if len(found) != 1 and not (found and found[0].name in WEIGHT_FILES):
            count = "no" if not found else f"{len(found)}"
            raise ModelError(
                f"{path} holds {count} classifier weights; name one file, such as {path / WEIGHT_FILES[1]}"
            )
        weights = found[0]
    elif path.is_file():
        weights = path
    else:
        raise ModelError(f"there is no classifier checkpoint at {path}; check the path given with --judge")
    folder = weights.parent
    config = folder / "config.json"
    tokenizer = next(
        (
            candidate
            for name, candidate in (("tokenizer.json", folder / "tokenizer.json"), ("vocab.json", folder))
            if (folder / name).is_file()
        ),
        None,
    )
    return Checkpoint(weights, config if config.is_file() else None, tokenizer)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from .safetensors or .pt, on the CPU in float32. Raises `ModelError`."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
    ) as error:
        raise ModelError(
            f"cannot read the classifier weights {path}: damaged or not a state dict; download them again"
        ) from error
    if not isinstance(state, Mapping) or not all(
        isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in state.items()
    ):
        raise ModelError(f"{path} is not a state dict of tensors; give a checkpoint of the official shape")
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def infer_config(state: Mapping[str, torch.Tensor], path: Path) -> RobertaConfig:
    """A roberta-base-like configuration with the sizes of the state dict's tensors.

    What tensors do not show is roberta-base's: heads of 64, layer norm epsilon 1e-5, padding index 1.
    Raises `ModelError`.
    """
    from transformers import RobertaConfig

    try:
        vocabulary, hidden = state["roberta.embeddings.word_embeddings.weight"].shape
        positions = state["roberta.embeddings.position_embeddings.weight"].shape[0]
        types = state["roberta.embeddings.token_type_embeddings.weight"].shape[0]
        intermediate = state["roberta.encoder.layer.0.intermediate.dense.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ModelError(
            f"{path} does not hold a RoBERTa classifier (roberta.* and classifier.*):"
            f" {error} is missing or misshapen; give a checkpoint of the official shape"
        ) from error
    if hidden % 64:
        raise ModelError(
            f"{path} has hidden size {hidden}, not a multiple of 64; put its config.json beside it"
        )
    layers = {int(m[1]) for key in state if (m := re.match(r"roberta\.encoder\.layer\.(\d+)\.", key))}
    return RobertaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=max(layers) + 1,
        num_attention_heads=hidden // 64,
        intermediate_size=intermediate,
        max_position_embeddings=positions,
        type_vocab_size=types,
        layer_norm_eps=1e-5,
    )


def read_config(path: Path) -> RobertaConfig:
    """A config.json. Raises `ModelError`."""
    from transformers import RobertaConfig

    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return RobertaConfig(**{key: value for key, value in content.items() if key != "model_type"})
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} is not a RoBERTa configuration: {error}; mend it or remove it") from error


def read_tokenizer(path: Path) -> Tokenizer:
    """A byte-level BPE tokenizer with RoBERTa's special tokens. Raises `ModelError`."""
    from tokenizers import AddedToken, ByteLevelBPETokenizer, Tokenizer
    from tokenizers.processors import RobertaProcessing

    try:
        if path.is_dir():
            parts = ByteLevelBPETokenizer.from_file(str(path / "vocab.json"), str(path / "merges.txt"))
            tokenizer = Tokenizer.from_str(parts.to_str())
            # These two files do not say which tokens are special; tokenizer.json does.
            tokenizer.add_special_tokens(
                [_BOS, _PAD, _EOS, "<unk>", AddedToken("<mask>", lstrip=True, special=True)]
            )
        else:
            tokenizer = Tokenizer.from_file(str(path))
        vocabulary = tokenizer.get_vocab()
        tokenizer.post_processor = RobertaProcessing((_EOS, vocabulary[_EOS]), (_BOS, vocabulary[_BOS]))
    except Exception as error:  # the Rust side raises bare Exception
        raise ModelError(
            f"{path} is not a RoBERTa tokenizer: {error}; put tokenizer.json of roberta-base there"
        ) from error
    return tokenizer


def build(config: RobertaConfig, n_labels: int) -> torch.nn.Module:
    """The network, fresh: input_ids, attention_mask (batch, tokens) -> logits (batch, n_labels)."""
    import torch
    from transformers import RobertaModel

    class ResponseClassifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.roberta = RobertaModel(config, add_pooling_layer=False)
            self.classifier = torch.nn.Linear(config.hidden_size, n_labels)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.roberta(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            logits: torch.Tensor = self.classifier(hidden[:, 0])
            return logits

    return ResponseClassifier()


class Reader:
    """A loaded classifier with its tokenizer: texts in, probabilities out.

    Raises `ModelError` on weights whose keys or shapes differ from the official ones; only
    `roberta.pooler.*` and the position buffers may be there or not.

    `digest` is the SHA-256 of the weights file.
    """

    def __init__(
        self, path: Path, labels: Sequence[str], *, tokenizer: Path | None = None, device: str | None = None
    ) -> None:
        import torch

        files = find_checkpoint(path)
        vocabulary = tokenizer or files.tokenizer
        if vocabulary is None:
            raise ModelError(
                f"no tokenizer beside {files.weights}; put tokenizer.json of roberta-base into that folder"
            )
        state = read_weights(files.weights)
        config = read_config(files.config) if files.config else infer_config(state, files.weights)
        model = build(config, len(labels))
        _check(state, model.state_dict(), files.weights)
        model.load_state_dict({k: v for k, v in state.items() if not _TOLERATED.match(k)}, strict=True)
        self.labels = tuple(labels)
        self.digest = _hash(files.weights)
        #: Of what reads the weights: tokenizer and, where there is one, config.json.
        self.companions = hashlib.sha256(
            (_hash_tokenizer(vocabulary) + (_hash(files.config) if files.config else "")).encode()
        ).hexdigest()
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._model = model.to(self._device).eval()
        self._tokenizer = read_tokenizer(vocabulary)
        self._pad = self._tokenizer.get_vocab().get(_PAD, -1)
        if self._pad != config.pad_token_id or self._tokenizer.get_vocab_size() > config.vocab_size:
            raise ModelError(
                f"{vocabulary} does not fit {files.weights}: {self._tokenizer.get_vocab_size()} tokens"
                f" with padding {self._pad} for {config.vocab_size} embeddings with padding"
                f" {config.pad_token_id}; give the tokenizer it was trained with"
            )
        # Positions count from the padding index + 1, so a table of 512 takes 510 tokens.
        self.max_tokens = min(MAX_TOKENS, config.max_position_embeddings - config.pad_token_id - 1)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.max_tokens)

    def probabilities(self, texts: Sequence[str], batch_size: int = 64) -> list[list[float]]:
        """Softmax over `labels` for each text, in order. Batches are of like length; each text runs once."""
        import torch

        distinct = list(dict.fromkeys(texts))
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(distinct)]
        order = sorted(range(len(distinct)), key=lambda i: (len(encoded[i]), distinct[i]))
        found: dict[str, list[float]] = {}
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            width = max(len(encoded[i]) for i in batch)
            ids = torch.tensor(
                [encoded[i] + [self._pad] * (width - len(encoded[i])) for i in batch], device=self._device
            )
            with torch.inference_mode():
                rows = self._model(ids, ids.ne(self._pad).long()).float().softmax(-1).tolist()
            found.update((distinct[i], row) for i, row in zip(batch, rows, strict=True))
        return [found[text] for text in texts]


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _hash_tokenizer(path: Path) -> str:
    return _hash(path) if path.is_file() else _hash(path / "vocab.json") + _hash(path / "merges.txt")


def _check(got: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], path: Path) -> None:
    missing = sorted(key for key in wanted if key not in got and not _TOLERATED.match(key))
    strange = sorted(key for key in got if key not in wanted and not _TOLERATED.match(key))
    shapes = sorted(
        f"{key} {tuple(got[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in wanted
        if key in got and got[key].shape != wanted[key].shape
    )
    for what, names in (("lacks", missing), ("has unknown", strange), ("has", shapes)):
        if names:
            more = f" and {len(names) - 2} more" if len(names) > 2 else ""
            raise ModelError(
                f"{path} {what} {', '.join(names[:2])}{more};"
                " give a classifier of the official shape with as many labels"
            )
