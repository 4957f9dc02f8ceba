"""The registry of known models, and what `ucbench models` lists."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from ucbench.cli import app
from ucbench.errors import ModelError
from ucbench.models import known, listing, registry
from ucbench.models.families import ALL, FAMILIES
from ucbench.models.templates import TEMPLATES
from ucbench.record import Decoding


def test_rows_are_consistent() -> None:
    rows = known.rows()
    assert len({row.id for row in rows}) == len(rows)
    families = {family.name: family for family in ALL}
    for row in rows:
        assert (row.family in families) == (row.runs == "native"), row.id
        if row.template:
            assert row.family
            shared = set(TEMPLATES[row.template].model_types) & set(families[row.family].model_types)
            assert shared, row.id
    assert set(registry.EMBEDDED) <= {row.id for row in rows}


def test_the_eight_of_the_paper() -> None:
    """Which of them run here, behind a server, or are only answers."""
    runs = {row["paper"]: row["runs"] for row in listing.models(paper_only=True)}
    assert runs == {
        "LLaVA-7B": "native", "LLaVA-13B": "native", "InstructBLIP-7B": "native",
        "InstructBLIP-13B": "native", "Qwen2-VL": "native", "InternLM-XComposer2": "endpoint",
        "CogVLM": "endpoint", "GPT-4V": "saved",
    }  # fmt: skip


def test_memory_is_two_bytes_a_parameter() -> None:
    seven = known.find("LLAVA-HF/llava-1.5-7b-HF")
    assert seven is not None
    assert seven.memory == 2 * 7.1
    assert known.find("nobody/nothing") is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("THUDM/cogvlm-chat-hf", ("Python code", "--endpoint", "import-answers")),
        ("internlm/internlm-xcomposer2-vl-7b", ("Python code", "--endpoint", "import-answers")),
        ("gpt-4-vision-preview", ("retired", "import-answers", "--endpoint")),
        ("liuhaotian/llava-v1.5-13b", ("llava-hf/llava-1.5-13b-hf",)),
    ],
)
def test_what_cannot_run_here_names_the_way_out(name: str, words: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        registry.load(name, decoding=Decoding())
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_families_tell_how_they_are_asked() -> None:
    rows = {row["family"]: row for row in listing.families()}
    assert {kind for row in rows.values() for kind in row["model_types"]} == set(FAMILIES)
    for row in rows.values():
        assert row["ways"][-1] == "one_at_a_time"
        assert bool(row["why"]) == (row["ways"][0] != "shared_prefix")


def test_the_command_lists_all_and_speaks_json() -> None:
    runner = CliRunner()
    shown = runner.invoke(app, ["models"], env={"COLUMNS": "80"})
    assert shown.exit_code == 0
    for row in known.rows():
        assert row.id.split("/")[-1][:20] in shown.output
    listed = json.loads(runner.invoke(app, ["models", "--json"]).output)
    assert [row["id"] for row in listed] == [row.id for row in known.rows()]
    assert listed[0]["memory_gb"] == 14.2
    assert len(json.loads(runner.invoke(app, ["models", "--paper", "--json"]).output)) == 8
    assert "Q-Former" in runner.invoke(app, ["models", "--families"], env={"COLUMNS": "120"}).output
    families = json.loads(runner.invoke(app, ["models", "--families", "--json"]).output)
    assert [row["family"] for row in families] == [family.name for family in ALL]
