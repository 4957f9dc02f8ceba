"""A Hub of the tests' own, and clients that know no other."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


def _hub_server() -> Any:
    """The module tests/hub_server.py, loaded once."""
    if "hub_server" not in sys.modules:
        where = Path(__file__).parents[1] / "hub_server.py"
        spec = importlib.util.spec_from_file_location("hub_server", where)
        assert spec
        assert spec.loader
        module = sys.modules["hub_server"] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["hub_server"]


@pytest.fixture(scope="session")
def hub_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """One server for all tests; take `hub`, which is empty."""
    with _hub_server().HubServer(tmp_path_factory.mktemp("hub")) as server:
        yield server


@pytest.fixture
def hub(hub_process: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """An empty Hub, the only one for this process and its subprocesses; no token, a home of their own.

    It knows the accounts alice (token hf_alice, of the organisation acme) and bob (hf_bob), and carol, whose
    token hf_carol may only read.
    """
    hub_process.reset()
    hub_process.add_account("alice", "hf_alice", ["acme"])
    hub_process.add_account("bob", "hf_bob")
    hub_process.add_account("carol", "hf_carol", role="read")
    home = tmp_path / "hf-home"
    for name, value in _hub_server().client_settings(hub_process.url, home).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("UCBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    _hub_server().use_in_process(hub_process.url, home, monkeypatch.setattr)
    return hub_process


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, scripted: Callable[..., Any]) -> Path:
    """The folder of a run over two samples, by acme/vlm at revision 000..., which no test may change."""
    from ucbench import evaluate as engine
    from ucbench.judges import registry as judges
    from ucbench.tracks import registry as tracks

    out = tmp_path_factory.mktemp("small-run")
    track, judge = tracks.load("pictograms"), judges.load("rules")
    record = engine.evaluate(scripted("acme/vlm", 0.8), track, judge, out=out, limit=2)
    return out / record.entry.slug / record.run_id
