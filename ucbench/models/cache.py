"""Keys and values with room behind them, so that a decoding step writes one token and copies none.

The cache of transformers is made anew by every step, one token longer: with long prompts and many rows that
moves more memory than the attention itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from torch import Tensor

#: Tokens that are made room for at a time: few copies, and little memory that may stay unused.
ROOM = 64


class RoomyLayer(DynamicLayer):  # type: ignore[misc]  # transformers is not typed
    """A `DynamicLayer` whose `keys` and `values` are the filled parts of larger tensors."""

    keys: Tensor
    values: Tensor
    _room: tuple[Tensor, Tensor] | None = None
    _filled: Tensor | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Append [rows, heads, new tokens, size]; return all so far."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = int(self.get_seq_length())
        end = begin + key_states.shape[-2]
        # Whoever puts other tensors into `keys` (selected rows, say) gets room for those.
        if self._room is None or self.keys is not self._filled or self._room[0].shape[-2] < end:
            self._room = (
                _larger(self.keys, key_states, begin, end + ROOM),
                _larger(self.values, value_states, begin, end + ROOM),
            )
        keys, values = self._room
        keys[..., begin:end, :] = key_states
        values[..., begin:end, :] = value_states
        self.keys, self.values = keys[..., :end, :], values[..., :end, :]
        self._filled = self.keys
        return self.keys, self.values


def _larger(old: Tensor, new: Tensor, filled: int, length: int) -> Tensor:
    room = new.new_empty((*new.shape[:-2], length, new.shape[-1]))
    if filled:
        room[..., :filled, :] = old
    return room


def with_room(config: Any) -> DynamicCache:
    """An empty cache for a model of which every layer keeps all tokens."""
    cache = DynamicCache(config=config)
    cache.layers = [RoomyLayer() for _ in cache.layers]
    return cache
