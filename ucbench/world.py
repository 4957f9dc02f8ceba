"""The processes of one `accelerate launch`, and this one's place among them."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class World:
    """This process among those of `accelerate launch`; they share a file system."""

    rank: int = 0
    size: int = 1
    device: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process judges and writes the record."""
        return self.rank == 0

    def wait(self) -> None:
        """Block until every process is here."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().wait_for_everyone()


def world() -> World:
    """The world that a launcher described in the environment; joins it when it has several processes."""
    if int(os.environ.get("WORLD_SIZE", "1")) <= 1:
        return World()
    import torch
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available())
    return World(int(state.process_index), int(state.num_processes), str(state.device))
