"""No test here is timed: a busy machine is no fault of a judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def official() -> Callable[..., dict[str, Any]]:
    """Makes state dicts as the authors write them: the default RobertaModel (with pooler) and a head."""
    torch = pytest.importorskip("torch")
    from transformers import RobertaConfig, RobertaModel

    def made(seed: int, n_labels: int, hidden: int = 64, **changes: Any) -> dict[str, Any]:
        torch.manual_seed(seed)
        sizes = {
            "vocab_size": 1500, "hidden_size": hidden, "num_hidden_layers": 2,
            "num_attention_heads": hidden // 64, "intermediate_size": 96,
            "max_position_embeddings": 514, "type_vocab_size": 1, "layer_norm_eps": 1e-5,
        }  # fmt: skip
        model = torch.nn.Module()
        model.roberta = RobertaModel(RobertaConfig(**(sizes | changes)))
        model.classifier = torch.nn.Linear(hidden, n_labels)
        return dict(model.state_dict())

    return made
