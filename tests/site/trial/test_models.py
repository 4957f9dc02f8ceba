"""Which models can be tried here, and what an address calls them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ucbench.site.trial import models
from ucbench.site.trial.models import DEFAULT, SERVED, Asked


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A place with an aligned adapter, one that is still being trained, and two checkpoints of one name."""
    for name, done in (("tiny-vlm-ppo-seed0", True), ("tiny-vlm-sft-seed0", False)):
        folder = tmp_path / "aligned" / name
        folder.mkdir(parents=True)
        (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": DEFAULT}))
        if done:
            (folder / "align.json").write_text(json.dumps({"base": {"model": DEFAULT}, "method": "ppo"}))
    for parent in ("a", "b"):
        folder = tmp_path / parent / "mine"
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
    return tmp_path


def test_aligned_models_of_this_place_are_found(place: Path) -> None:
    known, missing = models.choices([place, place], "")
    assert list(known) == [DEFAULT, "local:tiny-vlm-ppo-seed0"]
    assert known["local:tiny-vlm-ppo-seed0"].note == "embedded:tiny-vlm aligned by PPO."
    assert known["local:tiny-vlm-ppo-seed0"].base == DEFAULT
    assert missing == []


def test_named_checkpoints_are_offered_and_absent_ones_told_without_their_path(place: Path) -> None:
    named = f"{place}/a/mine, {place}/b/mine ,{place}/secret-place/nothing,acme/not-on-disk,,{place}/a/mine"
    known, missing = models.choices([], named)
    assert list(known) == [DEFAULT, "local:mine", "local:mine-2"]
    assert missing == ["nothing", "not-on-disk"]
    assert str(place) not in repr(known)


def test_a_hub_model_on_disk_is_offered(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = place / "hub" / "models--acme--here" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(place / "hub"))
    known, missing = models.choices([], "acme/here")
    assert list(known) == [DEFAULT, "acme/here"]
    assert missing == []


@pytest.mark.parametrize(
    ("name", "found"),
    [
        (DEFAULT, Asked(DEFAULT)),
        ("local:tiny-vlm-ppo-seed0", Asked("local:tiny-vlm-ppo-seed0")),
        ("local:tiny-vlm-ppo-seed0@sha256:0123abcd", Asked("local:tiny-vlm-ppo-seed0")),
        (f"{DEFAULT} + local:tiny-vlm-ppo-seed0@0123abc", Asked("local:tiny-vlm-ppo-seed0")),
        ("acme/seeing", Asked(SERVED, "acme/seeing")),
        ("provider:novita:acme/seeing", Asked(SERVED, "acme/seeing", "novita")),
        ("endpoint:gpt-4o", None),
        ("<script>", None),
        ("../../etc/passwd", None),
    ],
)
def test_names_of_the_board_lead_to_a_model(place: Path, name: str, found: Asked | None) -> None:
    known, _ = models.choices([place], "")
    assert models.asked_for(name, known) == found
