"""From the form to the board: a Hub, two workers, the site, a real browser; nothing of it pretended."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

# Half a minute of processor time, in eight processes.
pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.xdist_group("browser")]

STORE = "hf://datasets/board/store"
#: Of the 150 emblems; enough for scores of every kind, and for a row on the board.
SAMPLES = 4


def without_a_tensor(weights: bytes) -> bytes:
    """A checkpoint whose header is sound and that cannot be loaded: no gate sees that a layer is missing."""
    from safetensors.numpy import load, save

    tensors = load(weights)
    name = next(name for name in sorted(tensors) if name.endswith("mlp.up_proj.weight"))
    return save({other: tensor for other, tensor in tensors.items() if other != name})


@pytest.fixture
def models(hub: Any) -> Any:
    """The Hub with an empty store of the account `board`, and acme/broken beside acme/tiny."""
    hub.add_account("board", "hf_board")
    hub.create_repo("dataset", "board/store", owner="board")
    people = {"workers": ["board"], "maintainers": ["board"]}
    hub.commit("dataset", "board/store", {"store.json": json.dumps(people).encode()})
    files = hub.files("model", "acme/tiny")
    hub.create_repo("model", "acme/broken")
    hub.commit(
        "model", "acme/broken", files | {"model.safetensors": without_a_tensor(files["model.safetensors"])}
    )
    return hub


@pytest.fixture
def command(
    models: Any, to_the_hub: Callable[..., dict[str, str]], tmp_path: Path
) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `ucbench` as the account `board`: command("worker", "--once"). Ends what is left at the end."""
    with ExitStack() as stack:

        def started(name: str, *arguments: str) -> subprocess.Popen[str]:
            home = tmp_path / name
            home.mkdir()
            environment = {
                **os.environ,
                **to_the_hub(models, home / "hf", "hf_board"),
                "UCBENCH_STORE": STORE,
                "UCBENCH_CACHE": str(home / "cache"),
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "ucbench.cli", *arguments], cwd=home, env=environment, text=True,
                stdout=(home / "out").open("w"), stderr=subprocess.STDOUT,
            )  # fmt: skip
            stack.callback(process.wait, 60)
            stack.callback(process.kill)
            return process

        yield started


def test_a_submitted_checkpoint_reaches_the_board_and_a_broken_one_says_why(
    models: Any,
    oidc: Any,
    command: Callable[..., subprocess.Popen[str]],
    serve_site: Callable[..., Any],
    new_port: Callable[[], int],
    to_the_hub: Callable[..., dict[str, str]],
    browse: Callable[..., Any],
    tmp_path: Path,
) -> None:
    # 1. The site over the store, with sign-in.
    port, folder = new_port(), tmp_path / "site"
    folder.mkdir()
    environment = {
        **to_the_hub(models, folder / "hf", "hf_board"),
        **oidc.environment(f"127.0.0.1:{port}"),
        "UCBENCH_STORE": STORE,
        "UCBENCH_RUNS": str(folder / "runs"),
        "UCBENCH_CACHE": str(folder / "cache"),
    }
    with serve_site(folder, environment, port) as url:
        page = browse(url, "/", others=(oidc.url,))
        expect(page.get_by_text("Nothing has been published yet.")).to_be_visible()

        # 2. The broken checkpoint is submitted in a terminal, the good one in the form.
        terminal = command("terminal", "submit", "acme/broken", "--track", "pictograms")
        page.goto(f"{url}/submit")
        page.get_by_role("button", name="Sign in with Hugging Face").click()
        page.get_by_role("link", name="Continue as ada").click()
        page.get_by_role("textbox", name="Model").fill("acme/tiny")
        page.get_by_role("button", name="Check and submit").click()
        expect(page.get_by_text("acme/tiny was submitted.")).to_be_visible()
        assert terminal.wait(90) == 0, (tmp_path / "terminal" / "out").read_text()

        # 3. Two workers share the queue.
        workers = [
            command(
                name, "worker", "--name", name, "--folder", str(tmp_path / name / "work"), "--poll", "0.5",
                "--limit", str(SAMPLES), "--track", "pictograms",
            )
            for name in ("left", "right")
        ]  # fmt: skip
        page.get_by_role("link", name="See it in the queue").click()
        good = page.get_by_role("listitem").filter(has_text="acme/tiny")
        bad = page.get_by_role("listitem").filter(has_text="acme/broken")
        expect(good).to_contain_text("by ada")
        expect(bad).to_contain_text("by board")

        # 4. One ends on the board, the other with its reason.
        expect(bad).to_contain_text("Failed", timeout=180_000)
        expect(bad).to_contain_text("The checkpoint cannot be loaded")
        expect(bad).to_contain_text("up_proj")
        expect(good).to_contain_text("Done", timeout=180_000)
        good.get_by_role("link", name="See its scores").click()
        row = page.get_by_role("row").filter(has_text="acme/tiny")
        expect(row).to_contain_text(f"partial run of {SAMPLES} samples")
        expect(page.get_by_text(re.compile("Data as of .*, revision"))).to_be_visible()
        expect(page.get_by_text("snapshot")).to_have_count(0)

        # 5. Told to stop, the workers hand nothing back and end well.
        for worker in workers:
            worker.send_signal(signal.SIGTERM)
        for worker in workers:
            assert worker.wait(60) == 0
        page.close()  # before its server, whose end it would report

    # Each request was done once, by the board's own worker, and is in the store as it is on the page.
    files = models.files("dataset", "board/store")
    requests = [json.loads(content) for path, content in files.items() if path.startswith("requests/")]
    assert {request["model"]: request["state"] for request in requests} == {
        "acme/tiny": "DONE", "acme/broken": "FAILED",
    }  # fmt: skip
    assert {request["model"]: request["attempts"] for request in requests} == {
        "acme/tiny": 1,
        "acme/broken": 1,
    }
    (record,) = [json.loads(content) for path, content in files.items() if path.endswith("/record.json")]
    assert (record["entry"]["model"], record["provenance"]) == ("acme/tiny", "measured")
    assert "hf_board" not in "".join(path.read_text() for path in tmp_path.rglob("out"))
