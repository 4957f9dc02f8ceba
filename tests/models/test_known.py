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


def test_what_is_not_known_is_said() -> None:
    """A row of the Hub has a full commit or says that it has none; what is missing is never guessed."""
    for row in known.rows():
        if "/" not in row.id:
            assert row.commit is None
            continue
        assert (row.commit is None) == ("commit" in row.unverified), row.id
        assert row.licence or "licence" in row.unverified, row.id
    assert known.commit("QWEN/qwen2-vl-7b-instruct") == "eed13092ef92e448dd6875b2a00151bd3f7db0ac"
    assert known.commit("nobody/nothing") is None


def test_sizes_are_those_of_the_architectures() -> None:
    """Counted without memory, for one model of the paper and the largest guard's base."""
    import torch
    from transformers import InstructBlipConfig, InstructBlipForConditionalGeneration, MllamaConfig
    from transformers import MllamaForConditionalGeneration as Mllama

    vicuna = {
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32_001,
    }  # fmt: skip
    qformer = {"encoder_hidden_size": 1408, "vocab_size": 30_523}
    instructblip = InstructBlipConfig(vision_config={}, qformer_config=qformer, text_config=vicuna)
    with torch.device("meta"):
        counts = {
            "Salesforce/instructblip-vicuna-7b": InstructBlipForConditionalGeneration(instructblip),
            "meta-llama/Llama-Guard-3-11B-Vision": Mllama(MllamaConfig(vision_config={"image_size": 560})),
        }
    for name, model in counts.items():
        row = known.find(name)
        assert row
        assert row.parameters == round(model.num_parameters() / 1e9, 1)


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


@pytest.mark.parametrize("columns", [80, 140])
def test_the_table_says_what_a_model_needs(columns: int) -> None:
    shown = CliRunner().invoke(app, ["models"], env={"COLUMNS": str(columns)})
    assert shown.exit_code == 0
    assert max(map(len, shown.output.splitlines())) <= columns
    words = " ".join(shown.output.split())
    for row in known.rows():
        assert (row.id if columns > 80 else row.id[:36]) in words  # the longest is folded
        for said in (row.family, row.guard, row.paper and f"{row.paper} in the paper", row.licence):
            assert said is None or said in words, (row.id, said)
    assert "llava-hf/llava-1.5-7b-hf native 7.1 B 14.2 GB open LLaVA-7B in the paper; llava; licence" in words
    assert "internlm/internlm-xcomposer2-vl-7b endpoint 8.7 B? 17.4 GB? open" in words
    assert "gpt-4-vision-preview saved – – none" in words
    assert "commit b234b804" in words
    assert "licence not known?" in words


def test_the_command_speaks_json() -> None:
    runner = CliRunner()
    listed = json.loads(runner.invoke(app, ["models", "--json"]).output)
    assert [row["id"] for row in listed] == [row.id for row in known.rows()]
    assert listed[0]["memory_gb"] == 14.2
    assert len(json.loads(runner.invoke(app, ["models", "--paper", "--json"]).output)) == 8
    assert "Q-Former" in runner.invoke(app, ["models", "--families"], env={"COLUMNS": "120"}).output
    families = json.loads(runner.invoke(app, ["models", "--families", "--json"]).output)
    assert [row["family"] for row in families] == [family.name for family in ALL]
