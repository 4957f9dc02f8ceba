"""The gates: a good checkpoint passes, everything else is refused in words, in bounded time and memory."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from ucbench.errors import AccessError
from ucbench.hub.gates import Check, Facts, Limits, benchmark_of, card, gates, request_of, template
from ucbench.hub.gates import weights as weights_gate
from ucbench.hub.gates.base import Refused, amount, billions, quoted
from ucbench.hub.gates.name import check_id
from ucbench.hub.gates.reader import Reader, parse_json
from ucbench.hub.request import FOLDER, HubId, Request, RequestId, new_id
from ucbench.models import known

TINY = Path(__file__).parents[2] / "ucbench" / "models" / "embedded" / "tiny-vlm"
MODEL = "alice/vlm"
CARD = (
    "---\nlicense: apache-2.0\n---\n# A model\n\n"
    + "It answers questions about pictures, and was trained for these tests. " * 4
)
#: Asks a busy Hub again at once.
QUICK = Limits(wait=0.001)
Files = dict[str, bytes]


def short(value: Any) -> str:
    """A name for a case."""
    return repr(value)[:24]


def safetensors(tensors: dict[str, Any]) -> bytes:
    from safetensors.numpy import save

    return save(tensors)


def weights(n: int = 64) -> bytes:
    """A few of the weights that a LLaVA has, `n` numbers each."""
    names = (
        "language_model.model.layers.0.self_attn.q_proj.weight",
        "language_model.model.layers.0.self_attn.v_proj.weight",
        "vision_tower.vision_model.encoder.layers.0.self_attn.q_proj.weight",
    )
    return safetensors({name: np.zeros(n, dtype=np.float32) for name in names})


@pytest.fixture(scope="session")
def checkpoint() -> Files:
    """The files of the embedded model, with few weights."""
    files = {path.name: path.read_bytes() for path in TINY.iterdir()}
    return files | {"model.safetensors": weights(), "README.md": CARD.encode()}


def encoded(files: dict[str, Any]) -> Files:
    return {
        path: content.encode() if isinstance(content, str) else content
        for path, content in files.items()
        if content is not None
    }


@pytest.fixture
def push(hub: Any, checkpoint: Files) -> Callable[..., str]:
    """push({path: content or None}, repo=...): the checkpoint with these changes; returns its commit."""

    def pushed(
        changes: dict[str, bytes | str | None] | None = None, repo: str = MODEL, **settings: Any
    ) -> str:
        files = {**checkpoint, **(changes or {})}
        hub.create_repo("model", repo, **settings)
        return str(hub.commit("model", repo, encoded(files)))

    return pushed


def api(hub: Any, token: str | None = None) -> Any:
    from huggingface_hub import HfApi

    return HfApi(endpoint=hub.url, token=token or False)


def look(hub: Any, model: str = MODEL, revision: str | None = None, **how: Any) -> dict[str, Check]:
    """The checks by their ids; `facts` of the last ones stand in `look.facts`."""
    asked = {"api": api(hub, how.pop("token", None)), **how}
    looking = gates(model, revision, **asked)
    found: dict[str, Check] = {}
    while True:
        try:
            check = next(looking)
        except StopIteration as end:
            FACTS[:] = [end.value]
            return found
        assert check.id not in found
        found[check.id] = check


FACTS: list[Facts | None] = []


def failed(found: dict[str, Check]) -> list[str]:
    return [check.id for check in found.values() if check.outcome == "failed"]


def refused(found: dict[str, Check], gate: str, *words: str) -> None:
    """Only that gate failed, says these words, and says what to do."""
    assert failed(found) == [gate]
    check = found[gate]
    for word in words:
        assert word in f"{check.found} {check.advice}"
    assert check.advice
    assert FACTS == [None]


def refusal_of(act: Callable[[], Any]) -> Refused | None:
    try:
        act()
    except Refused as refusal:
        return refusal
    return None


def config(checkpoint: Files, **changes: Any) -> str:
    return json.dumps(json.loads(checkpoint["config.json"]) | changes)


# What passes


def test_the_embedded_model_passes(hub: Any) -> None:
    hub.create_repo("model", MODEL)
    sha = hub.commit("model", MODEL, {path.name: path.read_bytes() for path in TINY.iterdir()})
    found = look(hub)
    assert {check.outcome for check in found.values()} == {"passed"}
    assert [*found] == [
        "options", "name", "repository", "revision", "access", "format", "code", "architecture", "processor",
        "size", "template", "card",
    ]  # fmt: skip
    assert [Facts(MODEL, sha, "float32", 2_242_784, "LlavaForConditionalGeneration", "apache-2.0")] == FACTS


def test_a_request_is_made_of_facts() -> None:
    facts = Facts(MODEL, "a" * 40, "bfloat16", 7, "X", "mit", "o/base", "b" * 40)
    request = request_of(facts, track="safe", submitter="alice")
    assert (request.benchmark, request.state, request.base_revision) == ("official/1", "PENDING", "b" * 40)
    assert benchmark_of("pictograms") == "pictograms/1"


# Names and commits


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("../../etc/passwd", "folder of this machine"),
        ("/etc/passwd", "folder of this machine"),
        ("./checkpoint", "hf upload"),
        ("C:\\models\\vlm", "folder of this machine"),
        ("alice/..", "no id"),
        ("alice/vlm/../../secret", "no id"),
        ("alice/vlm/extra", "no id"),
        ("alice/vlm\n", "no id"),
        ("alice/vlm?x=1", "no id"),
        ("alice/a..b", "no id"),
        ("alice/a--b", "no id"),
        ("alice/vlm.git", "no id"),
        ("alice/vlm.", "no id"),
        ("-alice/vlm", "no id"),
        ("a" * 97 + "/vlm", "no id"),
        ("<script>alert(1)</script>", "no id"),
        ("alice/<b>vlm</b>", "no id"),
        ("%2e%2e/vlm", "no id"),
        ("vlm", "names no owner"),
        ("", "no id"),
        ("embedded:tiny-vlm", "comes with ucbench"),
        ("\N{CYRILLIC SMALL LETTER A}lice/vlm", "CYRILLIC SMALL LETTER A"),
        ("alice/vlm\N{RIGHT-TO-LEFT OVERRIDE}", "RIGHT-TO-LEFT OVERRIDE"),
        ("alice\N{FULLWIDTH SOLIDUS}vlm", "FULLWIDTH SOLIDUS"),
        ("alice/vlm\x00", "no id"),
    ],
    ids=short,
)
def test_what_is_no_id_is_refused_before_anything_is_asked(hub: Any, name: str, word: str) -> None:
    found = look(hub, name)
    refused(found, "name", word)
    assert found["name"].found.isprintable()
    assert found["repository"].outcome == "skipped"
    assert hub.requests == []


@given(st.one_of(st.from_regex(r"[\w./~-]{1,12}/[\w./-]{1,12}"), st.text(max_size=30)))
@example("a/b")
@example("a/..")
def test_ids_that_pass_are_ids_of_the_schema_and_no_tricks(name: str) -> None:
    if (refusal := refusal_of(lambda: check_id(name))) is not None:
        assert refusal.advice
        assert refusal.found.isprintable()
        return
    assert TypeAdapter(HubId).validate_python(name) == name
    owner, own = name.split("/")
    for part in (owner, own):
        assert part.isascii()
        assert part not in (".", "..", "")
        assert part[0].isalnum()
        assert not part.endswith(".git")


def a_request(**changes: Any) -> Request:
    facts = Facts(MODEL, "a" * 40, "bfloat16", 7, "X", "mit")
    return Request.model_validate({**dict(request_of(facts, track="safe", submitter="a")), **changes})


@given(st.one_of(st.from_regex(r"\A[0-9T./a-f-]{1,40}\Z"), st.text(max_size=40)), st.datetimes())
@example("../../../etc/passwd", datetime(2026, 1, 1))
@example("20260101T000000-0123456789ab", datetime(1, 1, 1))
@example("20260101T000000-0123456789ab\n", datetime(2026, 1, 1))
def test_no_id_that_the_schema_lets_through_leaves_the_folder_of_requests(text: str, time: Any) -> None:
    root = Path("/store") / FOLDER
    for name in (text, f"20260101T000000-{text}", text.rjust(28, "0")):
        try:
            request = a_request(id=name)
        except ValidationError:
            continue
        path = (Path("/store") / request.path).resolve()
        assert path.is_relative_to(root)
        assert path.parent.parent == root
        assert path.name == f"{name}.json"
    assert TypeAdapter(RequestId).validate_python(
        new_id(time.replace(year=max(time.year, 1000)).astimezone())
    )


@pytest.mark.parametrize(
    "model", ["a/../b", "../x", "a/b/c", "a\\b", "a/b\n", "\N{CYRILLIC SMALL LETTER A}/b"]
)
def test_the_schema_takes_no_model_that_is_a_path(model: str) -> None:
    with pytest.raises(ValidationError):
        a_request(model=model)


@pytest.mark.parametrize(
    "revision", ["../main", "refs/pr/1", "a b", "", "main\n", "-x", "a" * 300], ids=short
)
def test_what_is_no_revision_is_refused(hub: Any, revision: str) -> None:
    refused(look(hub, MODEL, revision), "name")
    assert hub.requests == []


def test_missing_and_private_are_told_apart_as_far_as_the_hub_tells(hub: Any) -> None:
    hub.create_repo("model", MODEL, private=True)
    refused(look(hub, "alice/nothing"), "repository", "there is none, or it is private")
    refused(look(hub), "repository", "there is none, or it is private")
    refused(look(hub, token="hf_bob"), "repository", "there is none, or it is private")
    refused(look(hub, token="hf_alice"), "repository", "is private", "make it public")
    # A private repository's files are not even listed.
    assert not [each for each in hub.requests if "/tree/" in each.path or "/resolve/" in each.path]


def test_a_wrong_commit_or_branch_is_refused(hub: Any, push: Any) -> None:
    push()
    refused(look(hub, revision="f" * 40), "revision", "no revision", "full hash")
    refused(look(hub, revision="dev"), "revision", "'dev'")


def test_a_branch_and_an_older_commit_of_main_are_pinned(hub: Any, push: Any) -> None:
    older = push()
    newer = hub.commit("model", MODEL, {"README.md": CARD.encode() + b"more"})
    hub.state.repos["model", MODEL].refs["dev"] = older
    for revision, sha in ((None, newer), ("main", newer), (newer, newer), ("dev", older), (older, older)):
        found = look(hub, revision=revision)
        assert failed(found) == []
        assert FACTS[0] is not None
        assert FACTS[0].revision == sha


def test_a_commit_of_a_pull_request_is_nobodys_model(hub: Any, push: Any) -> None:
    from huggingface_hub import CommitOperationAdd

    push()
    opened = api(hub, "hf_bob").create_commit(
        MODEL, [CommitOperationAdd("README.md", CARD.encode() + b"!")], commit_message="m", create_pr=True
    )
    refused(look(hub, revision=opened.oid), "revision", "pull request")


def test_the_hubs_own_spelling_is_taken(hub: Any, push: Any) -> None:
    push(repo="Alice/VLM")
    assert failed(look(hub, "alice/vlm")) == []
    assert FACTS[0] is not None
    assert FACTS[0].model == "Alice/VLM"


@pytest.mark.parametrize(("gated", "word"), [("auto", "everybody who asks"), ("manual", "decides on each")])
def test_a_gated_repository_is_refused_with_words(hub: Any, push: Any, gated: str, word: str) -> None:
    push(gated=gated)
    hub.grant("model", MODEL, "bob")
    found = look(hub, token="hf_bob", submitter="bob")
    refused(found, "access", word, "only alice can open it", "never with yours", "ucbench publish")
    refused(look(hub, token="hf_alice", submitter="alice"), "access", word, "open it")
    # Nobody's access is used to read it.
    assert not [each for each in hub.requests if "/resolve/" in each.path]


def test_a_repository_that_moves_is_read_at_one_commit(hub: Any, push: Any) -> None:
    sha = push()
    looking = gates(MODEL, api=api(hub))
    found = {}
    while True:
        try:
            check = next(looking)
        except StopIteration as end:
            facts = end.value
            break
        found[check.id] = check
        if check.id in ("revision", "format", "architecture", "size"):
            # Everything that was fine becomes wrong, or disappears.
            bad = {"config.json": b"{}", "README.md": b"", "chat_template.jinja": b"{% for", "x.py": b""}
            hub.commit("model", MODEL, bad | {"model.safetensors": f"{check.id}".encode()})
    assert failed(found) == []
    assert facts.revision == sha
    assert {each.path.split("/")[4] for each in hub.requests if "/resolve/" in each.path} == {sha}


# Files


def pickled() -> bytes:
    return pickle.dumps({"weight": [1.0]})


def test_weights_that_are_pickles_only_are_refused_with_the_way_out(hub: Any, push: Any) -> None:
    push({"model.safetensors": None, "pytorch_model.bin": pickled()})
    refused(look(hub), "format", "'pytorch_model.bin'", "never opened", "save_pretrained('converted')")


def test_pickles_beside_safetensors_are_left_alone(hub: Any, push: Any) -> None:
    push({"pytorch_model.bin": pickled(), "optimizer.pt": pickled()})
    found = look(hub)
    assert failed(found) == []
    assert found["format"].outcome == "warning"
    assert "never fetched" in found["format"].found
    assert not [each for each in hub.requests if each.path.endswith((".bin", ".pt"))]


INDEX = "model.safetensors.index.json"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model.safetensors": None}, "no file model.safetensors"),
        ({"model.safetensors": None, "model-Q4.gguf": b"GGUF"}, "llama.cpp"),
        ({INDEX: '{"weight_map": {"a": "model-00001.safetensors"}}'}, "model-00001.safetensors"),
        ({INDEX: '{"weight_map": {"a": "../../x.safetensors"}}'}, "does not say"),
        ({INDEX: '{"weight_map": {"a": 7}}'}, "does not say"),
        ({INDEX: '{"weight_map": "model.safetensors"}'}, "does not say"),
        ({INDEX: "[]"}, "no object"),
        ({INDEX: "{"}, "no valid JSON"),
        ({"adapter_config.json": "{}"}, "whole model and an adapter"),
    ],
)
def test_weights_that_are_not_all_there_are_refused(hub: Any, push: Any, changes: Any, word: str) -> None:
    push(changes)
    found = look(hub)
    assert "format" in failed(found)
    assert word in found["format"].found
    assert found["size"].outcome == "skipped"


def test_shards_are_found_and_counted(hub: Any, push: Any) -> None:
    table = {"a": "s-1.safetensors", "b": "s-2.safetensors"}
    push({"model.safetensors": None, INDEX: json.dumps({"weight_map": table}), "s-1.safetensors": weights(),
          "s-2.safetensors": weights()})  # fmt: skip
    found = look(hub)
    assert failed(found) == []
    assert found["format"].found.startswith("2 safetensors files")
    assert FACTS[0] is not None
    assert FACTS[0].parameters == 6 * 64


def test_code_of_its_own_is_refused_where_it_is_needed(hub: Any, push: Any, checkpoint: Files) -> None:
    own = {"AutoConfig": "configuration_x.XConfig", "AutoModel": "modeling_x.X"}
    push({"config.json": config(checkpoint, model_type="x", auto_map=own), "modeling_x.py": "import os"})
    found = look(hub)
    assert failed(found) == ["code", "architecture"]
    assert "never run" in found["code"].found
    assert "--endpoint" in found["code"].advice
    assert not [each for each in hub.requests if each.path.endswith(".py")]


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        (
            "tokenizer_config.json",
            {"tokenizer_class": "XTokenizer", "auto_map": {"AutoTokenizer": ["x.XTokenizer", None]}},
        ),
        (
            "processor_config.json",
            {"processor_class": "XProcessor", "auto_map": {"AutoProcessor": "x.XProcessor"}},
        ),
    ],
)
def test_code_of_its_own_is_looked_for_everywhere(hub: Any, push: Any, path: str, settings: Any) -> None:
    push({path: json.dumps(settings)})
    refused(look(hub), "code", path)


def test_code_that_is_not_needed_is_noted(hub: Any, push: Any, checkpoint: Files) -> None:
    left = {"AutoConfig": "old.Config"}
    tags = CARD.replace("license", "tags: [custom_code]\nlicense")
    push({"config.json": config(checkpoint, auto_map=left), "handler.py": "import os", "README.md": tags})
    found = look(hub)
    assert failed(found) == []
    assert found["code"].outcome == "warning"
    assert "'handler.py'" in found["code"].found


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"model_type": "llama"}, "without eyes"),
        ({"model_type": "clip"}, "do not answer questions"),
        ({"model_type": "florence2"}, "encoder-decoder"),
        ({"model_type": "blip-2", "text_config": {"model_type": "t5"}}, "encoder-decoder"),
        ({"model_type": "<img src=x onerror=alert(1)>"}, "'<img src=x onerror=alert(1)>'"),
        ({"model_type": ["llava"]}, "does not have"),
        ({"model_type": None}, "'None'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantised"),
    ],
)
def test_architectures_that_cannot_be_asked(
    hub: Any, push: Any, checkpoint: Files, changes: Any, word: str
) -> None:
    push({"config.json": config(checkpoint, **changes)})
    found = look(hub)
    assert "architecture" in failed(found)
    assert word in found["architecture"].found
    assert found["architecture"].advice


@pytest.mark.parametrize("model", ["internlm/internlm-xcomposer2-vl-7b", "liuhaotian/llava-v1.5-7b"])
def test_models_that_are_known_to_need_another_way(hub: Any, push: Any, model: str) -> None:
    push(repo=model)
    found = look(hub, model)
    assert failed(found) == ["architecture"]


def test_a_guard_is_accepted_and_said_to_be_one(hub: Any, push: Any, checkpoint: Files) -> None:
    model = "AIML-TUDA/QwenGuard-v1.2-3B"
    push({"config.json": config(checkpoint, model_type="qwen2_5_vl")}, repo=model)
    found = look(hub, model)
    assert failed(found) == []
    assert "guard llavaguard" in found["architecture"].found
    assert "guard llavaguard" in found["template"].found


def test_a_model_of_no_family_is_accepted_with_a_word(hub: Any, push: Any, checkpoint: Files) -> None:
    push({"config.json": config(checkpoint, model_type="aya_vision")})
    found = look(hub)
    assert failed(found) == []
    assert found["architecture"].outcome == "warning"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"processor_config.json": None}, "no processor"),
        ({"tokenizer.json": None}, "no tokenizer"),
        ({"processor_config.json": '{"image_processor": {"image_processor_type": "MyOwn"}}'}, "'MyOwn'"),
    ],
)
def test_a_processor_has_to_be_there(hub: Any, push: Any, changes: Any, word: str) -> None:
    push(changes)
    refused(look(hub), "processor", word)


def test_older_processors_are_known(hub: Any, push: Any) -> None:
    older = '{"feature_extractor_type": "CLIPFeatureExtractor"}'
    push({"processor_config.json": None, "preprocessor_config.json": older})
    assert failed(look(hub)) == []


# Size


def header(tensors: dict[str, Any], rest: bytes = b"") -> bytes:
    text = json.dumps(tensors).encode()
    return len(text).to_bytes(8, "little") + text + rest


def test_too_many_parameters_are_refused(hub: Any, push: Any) -> None:
    push()
    refused(look(hub, limits=Limits(max_params=191)), "size", "192 parameters", "191")
    assert failed(look(hub, limits=Limits(max_params=192))) == []


def test_the_hubs_count_is_taken_only_where_it_fits(hub: Any, push: Any, monkeypatch: Any) -> None:
    push({"model.safetensors": weights(500_000)})
    monkeypatch.setattr(weights_gate, "TRUSTED_ABOVE", 0)
    for said in (None, {"parameters": {"F32": 5}, "total": 5}, {"parameters": {"F32": 10**7}, "total": 10**7},
                 {"parameters": {"X": 5}}, {"parameters": ["F32"]}):  # fmt: skip
        monkeypatch.setattr(hub.state, "tensors", lambda *_, said=said: said)
        found = look(hub)
        assert failed(found) == []
        assert "files' headers" in found["size"].found
        assert FACTS[0] is not None
        assert FACTS[0].parameters == 1_500_000
    fitting = {"parameters": {"F32": 1_499_000}}
    monkeypatch.setattr(hub.state, "tensors", lambda *_: fitting)
    assert look(hub)["size"].found == "1.5 million parameters (counted by the Hub)"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "damaged"),
        (b"1234", "damaged"),
        ((2**62).to_bytes(8, "little") + b"{}", "damaged"),
        (header({"a": {"dtype": "F32", "shape": ["x"]}}), "damaged"),
        (header({"a": 1}), "damaged"),
        ((2).to_bytes(8, "little") + b"[]", "damaged"),
        ((2).to_bytes(8, "little") + b"{{", "no valid JSON"),
        (
            header({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4]}}, b"0000"),
            "1e+03 billion",
        ),
        (header({}), "no parameters"),
    ],
    ids=short,
)
def test_weights_that_lie_are_refused(hub: Any, push: Any, content: bytes, word: str) -> None:
    push({"model.safetensors": content})
    refused(look(hub), "size", word)


def test_a_header_of_more_than_one_read_is_read_whole(hub: Any, push: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub.state, "tensors", lambda *_: None)
    tensors = {f"layer.{n}.weight": np.zeros(1, dtype=np.float16) for n in range(3000)}
    push({"model.safetensors": safetensors(tensors)})
    assert failed(look(hub)) == []
    assert FACTS[0] is not None
    assert FACTS[0].parameters == 3000


def test_more_bytes_than_parameters_can_have_are_refused(hub: Any, push: Any) -> None:
    push({"more/checkpoint.safetensors": weights(10)})

    class Small(Limits):
        max_bytes = 80_000  # type: ignore[assignment]

    refused(look(hub, limits=Small()), "size", "80 kB")


def test_the_dtype_is_the_checkpoints_own(hub: Any, push: Any, checkpoint: Files) -> None:
    half = safetensors({"a": np.zeros(8, dtype=np.float16), "b": np.zeros(2, dtype=np.float32)})
    for name, settings, expected in (
        ("alice/a", {"dtype": "bfloat16"}, "bfloat16"),
        ("alice/b", {"dtype": None, "torch_dtype": "torch.float32"}, "float32"),
        ("alice/c", {"dtype": None}, "float16"),
    ):
        push({"config.json": config(checkpoint, **settings), "model.safetensors": half}, repo=name)
        assert failed(look(hub, name)) == []
        assert FACTS[0] is not None
        assert FACTS[0].dtype == expected
    assert failed(look(hub, "alice/c", dtype="bfloat16")) == []
    assert FACTS[0] is not None
    assert FACTS[0].dtype == "bfloat16"


def test_track_and_dtype_have_to_exist(hub: Any, push: Any) -> None:
    push()
    refused(look(hub, track="nothing"), "options", "'nothing'", "pictograms")
    refused(look(hub, dtype="int4"), "options", "'int4'", "bfloat16")


# Reading in bounds


def test_a_config_of_ten_megabytes_is_not_fetched(hub: Any, push: Any) -> None:
    push({"config.json": '{"model_type": "' + "x" * 10_000_000 + '"}'})
    found = look(hub)
    assert "10 MB" in found["architecture"].found
    assert {"architecture", "code"} <= set(failed(found))
    assert not [each for each in hub.requests if each.path.endswith("/config.json")]


def test_a_file_larger_than_its_listing_says_is_cut_off(hub: Any, push: Any) -> None:
    sha = push({"big.txt": "x" * 500_000})
    reader = Reader(api(hub), Limits())
    with pytest.raises(Refused, match="more than 1 kB"):
        reader.text(MODEL, sha, "big.txt", 10, 1000)
    assert reader.part(MODEL, sha, "big.txt", 499_990, 100) == b"x" * 10


@pytest.mark.parametrize(
    "content",
    [
        "{" + '"a": {' * 5000,
        '{"a": ' + "[" * 200 + "]" * 200 + "}",
        '{"a": ' + "9" * 5000 + "}",
        "[1]",
        "nonsense",
        b"\xff\xfe\x00",
    ],
    ids=short,
)
def test_json_that_is_none_or_nested_is_refused(hub: Any, push: Any, content: Any) -> None:
    push({"config.json": content})
    found = look(hub)
    assert {"architecture", "code"} <= set(failed(found))
    assert "'config.json'" in found["architecture"].found


@given(
    st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
)
def test_json_of_usual_depth_is_read(value: Any) -> None:
    assert parse_json(json.dumps({"a": value}).encode(), "x") == {"a": value}


def test_repositories_of_thousands_of_files_are_refused(hub: Any, push: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(hub, "_page", 10)
    push({f"data/{n}.txt": b"" for n in range(60)})
    assert failed(look(hub)) == []
    assert len([each for each in hub.requests if "/tree/" in each.path]) == 7
    hub.requests.clear()
    refused(look(hub, limits=Limits(files=25)), "revision", "more than 25 files")
    # The rest of the list is not even asked for.
    assert len([each for each in hub.requests if "/tree/" in each.path]) == 3


def test_requests_and_bytes_are_counted(hub: Any, push: Any) -> None:
    push()
    found = look(hub, limits=Limits(requests=4))
    assert any("more than 4 requests" in check.found for check in found.values())
    assert len(hub.requests) == 4
    found = look(hub, limits=Limits(total=4_000))
    assert any("took more than 4 kB" in check.found for check in found.values())


def test_a_hub_that_is_slow_is_not_waited_for(hub: Any, push: Any) -> None:
    push()
    hub.faults.add("slow", path="*/resolve/*", times=None, seconds=0.4)
    found = look(hub, limits=Limits(seconds=0.6))
    assert any("took longer than 0.6 seconds" in check.found for check in found.values())


def test_a_hub_that_is_busy_is_asked_again(hub: Any, push: Any) -> None:
    push()
    hub.faults.add("429", path="*/tree/*", times=2, seconds=0)
    hub.faults.add("503", path="*/resolve/*", times=1, seconds=0)
    hub.faults.add("cut", path="*/README.md", times=1)
    hub.faults.add("half", path="*/config.json", times=1)
    assert failed(look(hub, limits=QUICK)) == []


def test_a_hub_that_is_away_is_said_in_one_sentence(hub: Any, push: Any, monkeypatch: Any) -> None:
    from huggingface_hub import HfApi, constants

    push()
    hub.faults.add("500", path="/api/models/*", times=None)
    with pytest.raises(AccessError, match="status 500"):
        look(hub, limits=QUICK)
    hub.faults.clear()
    hub.faults.add("429", path="/api/models/*", times=None, seconds=3600)
    with pytest.raises(AccessError, match="too busy"):
        look(hub)
    with pytest.raises(AccessError, match="cannot be reached"):
        look(hub, api=HfApi(endpoint="http://127.0.0.1:9", token=False), limits=QUICK)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(AccessError, match="HF_HUB_OFFLINE"):
        look(hub)


# The card


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("readme", "word"),
    [
        (None, "no model card"),
        ("# A model\n" + "words " * 100, "names no licence"),
        ("---\nlicense: mit\n---\nShort.", "6 characters"),
        ("---\nlicense: mit\n---\n<!-- " + "words " * 100 + "-->", "0 characters"),
        ("---\nlicense: mit\n" + "words " * 100, "does not end"),
        (f"---\n{BOMB}license: mit\n---\n" + "words " * 100, "anchors"),
        ("---\nlicense: mit\na: " + "[" * 5000 + "]" * 5000 + "\n---\n" + "words " * 100, "nested deeper"),
        ("---\nlicense: mit\n" + "".join(f"k{n}: v\n" for n in range(5000)) + "---\n", "entries"),
        ("---\nlicense: mit\na: " + "x" * 100_000 + "\n---\n", "100 kB"),
        ("---\nlicense: [\n---\n" + "words " * 100, "no valid YAML"),
        ("---\nlicense: !!python/object/apply:os.system [id]\n---\n" + "words " * 100, "it uses tags"),
        ("---\nlicense: <script>alert(1)</script>\n---\n" + "words " * 100, "'<script>alert(1)</script>'"),
        ("---\n- license\n---\n" + "words " * 100, "names no licence"),
        (b"\xff\xff\xff", "no text"),
    ],
    ids=short,
)  # fmt: skip
def test_cards_that_say_nothing_or_too_much(hub: Any, push: Any, readme: Any, word: str) -> None:
    push({"README.md": readme})
    refused(look(hub), "card", word)


def test_a_card_of_ten_megabytes_is_not_fetched(hub: Any, push: Any) -> None:
    push({"README.md": CARD + "x" * 10_000_001})
    refused(look(hub), "card", "10 MB")
    assert not [each for each in hub.requests if each.path.endswith("/README.md")]


def test_licences_are_read_as_the_hub_reads_them() -> None:
    for front, expected in (
        ("license: mit", "mit"),
        ("license: [apache-2.0, mit]", "apache-2.0"),
        ("license: other\nlicense_name: llama3.1", "llama3.1"),
        ("license: other", "other"),
        ("'license': \"cc-by-4.0\" # yes", "cc-by-4.0"),
    ):
        found, text = card.split(f"---\r\n{front}\r\n---\r\ntext", 1000)
        assert card.licence(found) == expected
        assert text.strip() == "text"
    assert card.split("no front matter", 1000) == ({}, "no front matter")


@given(st.text(alphabet="-:[]{}&*!|>#'\"? \n\tab0,%@", max_size=200))
def test_no_front_matter_breaks_the_reader(text: str) -> None:
    if (refusal := refusal_of(lambda: card.split(f"---\n{text}\n---\n", 10_000))) is not None:
        assert refusal.advice


def test_an_unknown_licence_is_warned_of(hub: Any, push: Any) -> None:
    push({"README.md": CARD.replace("apache-2.0", "unknown")})
    found = look(hub)
    assert found["card"].outcome == "warning"
    assert failed(found) == []


# The chat template

LOOP = "{% for a in range(99999) %}" * 3 + "{% endfor %}" * 3


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (None, "no chat template"),
        (LOOP, "runs longer than 1 seconds"),
        ("{{ 'a' * 10000000000 }}", "of memory"),
        ("{% for a in range(90000) %}{{ 'aaaaaaaaaa' }}{% endfor %}", "writes more"),
        ("{% for a in range(10000000) %}{% endfor %}", "fails"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "fails"),
        ("{{ raise_exception('<b>no</b>') }}", "<b>no</b>"),
        ("{{ messages[0].content.append(1) }}", "fails"),
        ("{{ ''.__class__.__mro__ }}{{ cycler.__init__.__globals__.os.system('id') }}", "fails"),
        ("{% for", "fails"),
        ("{% include '/etc/passwd' %}", "fails"),
        ("", "writes nothing"),
        ("<image>USER: ASSISTANT:", "leaves out the question"),
        ("USER: {{ messages[0].content[-1].text }} ASSISTANT:", "no place for a picture"),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}", "no place for a picture"),
    ],
    ids=short,
)
def test_chat_templates_that_cannot_be_used(hub: Any, push: Any, text: str | None, word: str) -> None:
    push({"chat_template.jinja": text})
    refused(look(hub, limits=Limits(template_cpu=1)), "template", word, "chat_template.jinja")


GOOD = (TINY / "chat_template.jinja").read_text()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("chat_template.json", {"chat_template": GOOD}),
        ("tokenizer_config.json", {"chat_template": GOOD}),
        ("tokenizer_config.json", {"chat_template": [{"name": "default", "template": GOOD}]}),
        ("processor_config.json", {"chat_template": GOOD}),
    ],
)
def test_templates_are_found_where_transformers_finds_them(
    hub: Any, push: Any, path: str, content: Any
) -> None:
    push({"chat_template.jinja": None, path: json.dumps(content)})
    found = look(hub)
    assert failed(found) == []
    assert path in found["template"].found


def test_the_child_renders_as_transformers_does() -> None:
    from transformers.utils.chat_template_utils import render_jinja_template

    text = (
        GOOD
        + "{% generation %}{{ {'a': 1} | tojson }}{{ bos_token }}{% endgeneration %}"
        + "\n{% if true %}\n  x\n{% endif %}"
    )
    question = "Is it 'safe' <b>?"
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]
    expected, _ = render_jinja_template(
        [messages], chat_template=text, add_generation_prompt=True, bos_token="<s>"
    )
    assert template.render(text, question, {"bos_token": "<s>"}, True, Limits())[0] == expected[0]


def test_families_that_take_bare_questions_need_no_template(hub: Any, push: Any, checkpoint: Files) -> None:
    push({"chat_template.jinja": None, "config.json": config(checkpoint, model_type="instructblip")})
    assert look(hub)["template"].outcome == "passed"


def test_known_models_are_asked_with_ours(hub: Any, push: Any) -> None:
    push({"chat_template.jinja": None}, repo="llava-hf/llava-1.5-7b-hf")
    found = look(hub, "llava-hf/llava-1.5-7b-hf")
    assert failed(found) == []
    assert "llava_v1" in found["template"].found


# Adapters

LORA = "base_model.model.model.language_model.layers.0.self_attn.q_proj.lora_{}.weight"


def adapter(base: str = MODEL, *, layer: str = LORA, align: Any = None, **settings: Any) -> dict[str, Any]:
    tensors = {layer.format(half): np.zeros((2, 4), dtype=np.float32) for half in "AB"}
    named = {"peft_type": "LORA", "base_model_name_or_path": base, "r": 2, **settings}
    return encoded(
        {
            "adapter_config.json": json.dumps(named),
            "adapter_model.safetensors": safetensors(tensors),
            "README.md": CARD,
            "align.json": json.dumps(align) if align else None,
        }
    )


@pytest.fixture
def push_adapter(hub: Any) -> Callable[..., str]:
    def pushed(files: Files, repo: str = "bob/lora") -> str:
        hub.create_repo("model", repo)
        return str(hub.commit("model", repo, files))

    return pushed


def test_an_adapter_passes_with_its_base(hub: Any, push: Any, push_adapter: Any) -> None:
    base, own = push({"README.md": "nothing"}), push_adapter(adapter())
    found = look(hub, "bob/lora")
    assert failed(found) == []
    assert found["adapter"].outcome == "warning"  # no revision named
    assert found["base-card"].outcome == "warning"  # not bob's to mend
    assert "1 layer changed" in found["fit"].found
    assert [
        Facts(
            "bob/lora", own, "float32", 192 + 16, "LlavaForConditionalGeneration", "apache-2.0", MODEL, base
        )
    ] == FACTS


def test_an_adapter_stands_on_the_commit_it_names(hub: Any, push: Any, push_adapter: Any) -> None:
    older = push()
    hub.commit("model", MODEL, {"config.json": b"broken now"})
    push_adapter(adapter(revision=older))
    push_adapter(adapter(align={"base": {"revision": older}, "trained_on": []}), repo="bob/aligned")
    push_adapter(adapter(), repo="bob/unpinned")
    for name in ("bob/lora", "bob/aligned"):
        assert failed(look(hub, name)) == []
        assert FACTS[0] is not None
        assert FACTS[0].base_revision == older
    assert "base-architecture" in failed(look(hub, "bob/unpinned"))


def test_an_unpinned_adapter_of_a_known_model_stands_on_the_commit_that_everybody_takes(
    hub: Any, push: Any, push_adapter: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = push()
    hub.commit("model", MODEL, {"config.json": b"broken now"})
    row = known.rows()[0].model_copy(update={"id": MODEL, "commit": older, "template": None, "guard": None})
    monkeypatch.setattr(known, "rows", lambda: (row,))
    push_adapter(adapter())
    assert failed(found := look(hub, "bob/lora")) == []
    assert older[:12] in found["adapter"].found
    assert FACTS[0] is not None
    assert FACTS[0].base_revision == older


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"base": "/home/bob/llava"}, "folder of this machine"),
        ({"base": "../llava"}, "folder of this machine"),
        ({"base": "runs/llava/checkpoint-100"}, "no id"),
        ({"base": "embedded:tiny-vlm"}, "comes with ucbench"),
        ({"base": "local:llava"}, "folder of this machine"),
        ({"base": ""}, "does not name its base model"),
        ({"revision": "refs/pr/3"}, "anybody may open a pull request"),
        ({"revision": "../main"}, "as revision"),
        ({"peft_type": "IA3"}, "'IA3'"),
        ({"megatron_config": {"a": 1}}, "megatron_config"),
    ],
)
def test_adapters_without_a_base_that_can_be_fetched(
    hub: Any, push_adapter: Any, changes: Any, word: str
) -> None:
    push_adapter(adapter(**changes))
    refused(look(hub, "bob/lora"), "adapter", word)


def test_an_adapters_base_goes_through_the_gates(hub: Any, push: Any, push_adapter: Any) -> None:
    push(gated="manual")
    push_adapter(adapter())
    refused(look(hub, "bob/lora", submitter="bob"), "base-access", "only alice can open it")
    push_adapter(adapter("bob/lora"), repo="bob/stacked")
    refused(look(hub, "bob/stacked"), "base-whole", "is an adapter itself")
    push_adapter(adapter("alice/gone"), repo="bob/homeless")
    refused(look(hub, "bob/homeless"), "base-repository", "no model alice/gone")


def test_an_adapter_of_another_model_is_refused(hub: Any, push: Any, push_adapter: Any) -> None:
    push()
    push_adapter(adapter(layer=LORA.replace("layers.0", "layers.7")))
    refused(look(hub, "bob/lora"), "fit", "layers.7", "base_model_name_or_path")
    push_adapter(adapter(layer="something.else.{}"), repo="bob/odd")
    refused(look(hub, "bob/odd"), "fit", "no low-rank layers")
    pickle_only = adapter() | {"adapter_model.bin": pickled()}
    del pickle_only["adapter_model.safetensors"]
    push_adapter(pickle_only, repo="bob/pickle")
    assert failed(look(hub, "bob/pickle")) == ["format"]


# Words


def test_all_that_fails_is_shown_at_once(hub: Any, push: Any) -> None:
    push({"model.safetensors": None, "chat_template.jinja": None, "README.md": None, "tokenizer.json": None})
    found = look(hub, track="nothing", dtype="int4")
    assert failed(found) == ["options", "format", "processor", "template", "card"]
    assert all(found[gate].advice for gate in failed(found))


def test_numbers_for_people() -> None:
    assert [amount(n) for n in (5, 4699, 8_984_352, 14_100_000_000)] == [
        "5 bytes",
        "4.7 kB",
        "8.98 MB",
        "14.1 GB",
    ]
    assert [billions(n) for n in (950, 2_242_784, 7_063_427_072)] == ["950", "2.24 million", "7.06 billion"]
    assert quoted("a\nb\x1b[31m\N{RIGHT-TO-LEFT OVERRIDE}" + "x" * 100).isprintable()
    assert len(quoted("x" * 1000)) < 70
