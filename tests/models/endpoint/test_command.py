"""`ucbench evaluate --endpoint`: the real command, its options, SIGKILL and the way on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ucbench import journal, runs
from ucbench.cli import app
from ucbench.errors import UcbenchError

pytestmark = pytest.mark.xdist_group("endpoint")

SECRET = "sk-very-secret-0123456789"


def command(server: Any, out: Path, *more: str) -> list[str]:
    return [
        sys.executable, "-m", "ucbench.cli", "evaluate", "--endpoint", server.url, "--model", "test-vlm",
        "--key-env", "SOME_KEY", "--out", str(out), *more,
    ]  # fmt: skip


def test_killed_and_resumed_no_question_is_lost_or_asked_needlessly(
    chat_server: Callable[..., Any], tmp_path: Path
) -> None:
    server = chat_server(
        latency=0.004,
        key=SECRET,
        faults={"cut": 0.02, "500": 0.02, "malformed": 0.02, "filter-finish": 0.005, "429": 0.001},
    )
    environment = {**os.environ, "SOME_KEY": SECRET}
    arguments = command(server, tmp_path, "--limit", "73", "--concurrency", "6")
    for kill in (1, 2):
        process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
        wanted = kill * 250
        while sum(server.answered.values()) < wanted:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    (path,) = tmp_path.glob("*/*/answers-0.jsonl")
    kept = {(line.answer.sample_id, line.answer.question_id) for line in journal.read(path)[0]}
    assert len(kept) > 400
    done = subprocess.run(
        arguments, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr

    (run,) = runs.find(tmp_path)
    answers = run.answers()
    assert len(answers) == 1008
    assert not answers.duplicated(runs.KEY).any()
    assert set(answers["error"].dropna()) <= {"provider_refusal"}
    assert run.record().status == "partial"
    # Of each start: the first request, and what was under way or on its way to the disk when it was killed.
    twice = sum(n - 1 for n in server.answered.values())
    assert twice <= 2 + 2 * 3 * 6
    assert server.most_at_once <= 12, "a killed client's requests may still be at the server"
    written = "".join(
        part.read_text(errors="replace") for part in tmp_path.rglob("*") if part.suffix in (".json", ".jsonl")
    )
    assert SECRET not in written + done.stdout + done.stderr
    assert server.url in written


def refused(*arguments: str) -> UcbenchError:
    done = CliRunner().invoke(app, ["evaluate", *arguments])
    assert isinstance(done.exception, UcbenchError), done.output
    assert len(str(done.exception).splitlines()) == 1
    return done.exception


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "no model is named"),
        (("--endpoint", "http://127.0.0.1:9/v1"), "--model ID"),
        (("--provider", "auto"), "--model ID"),
        (("embedded:tiny-vlm", "--endpoint", "http://127.0.0.1:9/v1"), "--model ID"),
        (("embedded:tiny-vlm", "--model", "x"), "--model is for"),
        (("embedded:tiny-vlm", "--concurrency", "4"), "--concurrency is for"),
        (("embedded:tiny-vlm", "--price-input", "4"), "--price-input is for"),
        (("--endpoint", "http://h/v1", "--provider", "auto", "--model", "x"), "one of them"),
        (("--endpoint", "localhost:8000", "--model", "x"), "no web address"),
        (("--endpoint", "http://h/v1", "--model", "x", "--dtype", "float16"), "--dtype is for"),
        (("--endpoint", "http://h/v1", "--model", "x", "--price-output", "-1"), "--price-output"),
        (("--endpoint", "http://h/v1", "--model", "x", "--key-env", "NOBODY_SET_THIS"), "NOBODY_SET_THIS"),
    ],
)  # fmt: skip
def test_options_that_do_not_belong_together(arguments: tuple[str, ...], words: str, tmp_path: Path) -> None:
    assert words in str(refused(*arguments, "--out", str(tmp_path)))
    assert not any(tmp_path.iterdir())


def test_nothing_is_written_when_nobody_is_there(tmp_path: Path) -> None:
    error = refused("--endpoint", "http://127.0.0.1:9/v1", "--model", "x", "--out", str(tmp_path))
    assert error.exit_code == 3
    assert "cannot be reached" in str(error)
    assert not any(tmp_path.iterdir())


def test_the_way_a_refusal_ends_the_command(chat_server: Callable[..., Any], tmp_path: Path) -> None:
    server = chat_server(key=SECRET)
    done = subprocess.run(
        command(server, tmp_path), env={**os.environ, "SOME_KEY": "sk-wrong-9876543210"},
        capture_output=True, text=True, check=False, timeout=100,
    )  # fmt: skip
    assert done.returncode == 3
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "SOME_KEY" in line
    assert "sk-wrong" not in line, "the server had echoed it"
    assert not any(tmp_path.iterdir())
