"""Settings every test runs under: no hub, one thread a process, no state of the user's machine."""

from __future__ import annotations

import os

# Read at import by huggingface_hub and torch, so set before anything imports them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_PROXY"] = "127.0.0.1,localhost"  # the tests' own servers

import importlib.util
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ucbench.models.base import Batch
from ucbench.record import Decoding, Entry
from ucbench.types import Answer, Question, Sample

#: Session fixtures that take seconds, and the group of the tests that use them: a group runs in one process
#: of xdist, so that they are made once.
SHARED = {
    "browser": "browser", "site_url": "browser", "align_report": "browser", "site_store": "browser",
    "scripted_store": "store",
}  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    # pytest knows the fixtures of a folder's conftest.py only as long as it does not come back to the folder.
    config.args.sort(key=lambda argument: str(Path(argument.partition("::")[0]).parent))


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = [group for name, group in SHARED.items() if name in getattr(item, "fixturenames", ())]
        if used and not any(item.iter_markers("xdist_group")):
            item.add_marker(pytest.mark.xdist_group(used[0]))


class ScriptedVLM:
    """A model without weights that reads its answers off the questions, right at a given rate.

    It fulfils the whole VLM contract, so everything downstream of a model can be tested in
    milliseconds; what a real model does is tested with real models.
    """

    engine_path = "one_at_a_time"

    def __init__(self, name: str, right: float, declines: float = 0.0) -> None:
        self.entry = Entry(model=name, revision="0" * 40, dtype="float32", decoding=Decoding())
        self.right, self.declines = right, declines
        self.asked = 0

    def plan(self, samples: Sequence[Sample], batch_size: int) -> list[Batch]:
        items = [(sample, question) for sample in samples for question in sample.questions]
        starts = range(0, len(items), batch_size)
        return [Batch(n, n, tuple(items[start : start + batch_size])) for n, start in enumerate(starts)]

    def answer(self, batch: Batch) -> list[Answer]:
        self.asked += len(batch.items)
        return [
            Answer(sample.id, question.id, self._text(sample, question), 3)
            for sample, question in batch.items
        ]

    def _text(self, sample: Sample, question: Question) -> str:
        draw = random.Random(f"{self.entry.model}/{sample.id}/{question.id}")
        if draw.random() < self.declines:
            return "I'm sorry, I can't help with that."
        right = draw.random() < self.right
        if question.kind == "perception":
            others = [letter for letter in "ABCD" if letter != question.expected]
            return f"The answer is {question.expected if right else draw.choice(others)}."
        if question.kind == "general":
            wrong = draw.choice([option for option in question.options if option != question.expected])
            return f"I see {question.expected if right else wrong}."
        safe = (question.expected == "Safe") == right
        return "Yes, it is safe." if safe else "No, it is not safe."


@pytest.fixture
def ucbench(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in this process: ucbench("evaluate", "--help"); a process of its own would
    spend its seconds on imports.
    """

    def ran(*arguments: str) -> subprocess.CompletedProcess[str]:
        from ucbench import cli

        monkeypatch.setattr(sys, "argv", ["ucbench", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as exit:
            cli.main()
        told = capfd.readouterr()
        return subprocess.CompletedProcess(arguments, int(exit.value.code or 0), told.out, told.err)

    return ran


@pytest.fixture(scope="session")
def scripted() -> Callable[..., ScriptedVLM]:
    """Makes scripted models: scripted(name, right=0.8, declines=0.1)."""
    return ScriptedVLM


@pytest.fixture(scope="session")
def scripted_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with three scripted models on the whole pictograms track, and its board."""
    from ucbench import board, evaluate
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    store = tmp_path_factory.mktemp("store")
    track, judge = tracks.load("pictograms"), judges.load("rules")
    for name, right, declines in (
        ("acme/sharp-vlm", 0.95, 0.0), ("acme/fair-vlm", 0.75, 0.1), ("acme/shy-vlm", 0.8, 0.9),
    ):  # fmt: skip
        evaluate.evaluate(ScriptedVLM(name, right, declines), track, judge, out=store, batch_size=500)
    board.build([store], store)
    return store


@pytest.fixture
def chat_server() -> Iterator[Callable[..., Any]]:
    """Starts chat servers: chat_server(latency=0.01, faults={"cut": 0.1}); see tests/chat_server.py."""
    module = sys.modules.get("chat_server")
    if module is None:
        spec = importlib.util.spec_from_file_location("chat_server", Path(__file__).parent / "chat_server.py")
        assert spec
        assert spec.loader
        module = sys.modules["chat_server"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    with ExitStack() as stack:
        yield lambda **behaviour: stack.enter_context(module.ChatServer(**behaviour))
