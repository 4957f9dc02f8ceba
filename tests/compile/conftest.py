"""Coloured shapes instead of pictures, a tiny CLIP that knows them, and folders of candidates and votes."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ucbench.compile import candidates, clip
from ucbench.compile.annotations import AnnotatorFile
from ucbench.compile.candidates import Compilation
from ucbench.compile.concepts import ListedConcept
from ucbench.compile.sources import open_source

COLOURS = {"red": (205, 40, 40), "green": (40, 150, 70), "violet": (120, 60, 170), "yellow": (235, 195, 40)}
SHAPES = {"circle": "Round", "square": "Angular"}
NAMES = [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]


def draw(name: str, seed: int = 0, size: int = 32) -> Image.Image:
    """A coloured shape on a pale ground, with jitter."""
    colour, shape = name.split()
    rng = random.Random(f"{name}/{seed}")
    image = Image.new("RGB", (size + rng.randrange(8), size), tuple(rng.randrange(225, 250) for _ in "rgb"))
    r, x, y = size * rng.uniform(0.26, 0.32), size / 2 + rng.uniform(-2, 2), size / 2 + rng.uniform(-2, 2)
    fill = tuple(min(255, max(0, part + rng.randrange(-12, 13))) for part in COLOURS[colour])
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "circle" else pen.rectangle)((x - r, y - r, x + r, y + r), fill=fill)
    return image


def png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def shape() -> Callable[..., bytes]:
    """Makes the bytes of a picture: shape("red circle", seed)."""
    return lambda name, seed=0, size=32: png(draw(name, seed, size))


@pytest.fixture(scope="session")
def concepts() -> tuple[ListedConcept, ...]:
    """Eight harmless concepts in two categories."""
    return tuple(ListedConcept(n.replace(" ", "-"), n, SHAPES[n.split()[1]], n) for n in NAMES)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real CLIPModel checkpoint: random towers, and a projection fitted to tell the shapes apart."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPImageProcessorPil,
        CLIPModel,
        CLIPProcessor,
        PreTrainedTokenizerFast,
    )

    folder = tmp_path_factory.mktemp("clip") / "tiny-clip"
    words = ["<pad>", "<unk>", "a", "picture", "of", *COLOURS, *SHAPES, "<s>", "</s>"]
    begin, end = len(words) - 2, len(words) - 1
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", begin), ("</s>", end)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>",
        model_max_length=16,
    )  # fmt: skip
    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config={
            **tower,
            "vocab_size": len(words),
            "max_position_embeddings": 16,
            "bos_token_id": begin,
            "eos_token_id": end,
        },
        vision_config={
            **tower,
            "hidden_size": 128,
            "intermediate_size": 512,
            "image_size": 32,
            "patch_size": 8,
        },
        projection_dim=16,
    )
    model = CLIPModel(config).eval()
    processor = CLIPProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}), tokenizer
    )
    encoder = clip.Encoder("tiny", "0", model, processor)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # At its usual scale a random tower hardly tells two pictures apart; sharper attention would
            # look at one place alone.
            if parameter.ndim > 1 and "q_proj" not in name and "k_proj" not in name:
                parameter.mul_(4)
        pixels = np.stack([encoder.prepare(draw(name, seed)) for name in NAMES for seed in range(60)])
        features = model.vision_model(pixel_values=torch.from_numpy(pixels)).pooler_output
        encoded = tokenizer(NAMES, return_tensors="pt")
        texts = model.text_model(encoded["input_ids"], encoded["attention_mask"]).pooler_output
        corners = torch.eye(16)[: len(NAMES)]
        _fit(model.text_projection, texts, corners)
        _fit(model.visual_projection, features, corners.repeat_interleave(60, 0))
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _fit(projection: Any, features: Any, targets: Any) -> None:
    """The linear layer that brings features nearest to targets (ridge regression)."""
    import torch

    ridge = features.T @ features + 1e-4 * torch.eye(features.shape[1])
    projection.weight.copy_(torch.linalg.solve(ridge, features.T @ targets).T)


@pytest.fixture(scope="session")
def encoder(clip_folder: Path) -> clip.Encoder:
    """The checkpoint, loaded the real way."""
    return clip.load(str(clip_folder), device="cpu")


@dataclass(frozen=True)
class Desk:
    """A folder of pictures, the candidates that stand for a ranking of it, and voting on them."""

    pictures: Path
    folder: Path
    compilation: Compilation

    def vote(self, annotator: str, decisions: dict[str, str]) -> None:
        """Write decisions (by `concept id/picture name`) to the annotator's file, through the real code."""
        file = AnnotatorFile(self.folder, annotator)
        for candidate in self.compilation.candidates:
            decision = decisions.get(f"{candidate.concept_id}/{candidate.reference}")
            if decision is not None:
                file.decide((candidate.concept_id, candidate.sha256), decision, 1.0)  # type: ignore[arg-type]


@pytest.fixture
def desk(tmp_path: Path, concepts: Sequence[ListedConcept], shape: Callable[..., bytes]) -> Desk:
    """Two pictures a concept, each a candidate of its own concept: no model is needed to vote."""
    import hashlib

    pictures, folder = tmp_path / "pictures", tmp_path / "compiled"
    pictures.mkdir()
    folder.mkdir()
    found = []
    for concept in concepts:
        for rank in (1, 2):
            content = shape(concept.name, rank)
            name = f"{concept.id}-{rank}.png"
            (pictures / name).write_bytes(content)
            found.append(
                candidates.Candidate(
                    concept.id, concept.name, concept.category, rank, 0.4 - rank / 10, name,
                    hashlib.sha256(content).hexdigest(), 1,
                )
            )  # fmt: skip
    manifest: dict[str, Any] = {
        "source": open_source(str(pictures)).describe(),
        "model": {"name": "tiny", "revision": "0", "dtype": "float32"},
        "concepts": [asdict(concept) for concept in concepts],
        "top": 2,
        "counts": {"pictures": len(found), "distinct": len(found), "duplicates": 0, "unreadable": 0},
    }
    candidates.write(folder, manifest, found)
    return Desk(pictures, folder, candidates.read(folder))
