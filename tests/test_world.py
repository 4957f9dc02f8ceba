"""One process unless a launcher says otherwise."""

from __future__ import annotations

import pytest

from ucbench.world import World, world


def test_no_launcher_means_one_main_process_that_never_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    alone = world()
    assert alone == World(rank=0, size=1, device=None)
    assert alone.is_main
    alone.wait()
    assert not World(rank=1, size=2).is_main
