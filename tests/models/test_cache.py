"""The cache with room against the one of transformers."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.cache_utils import DynamicLayer

from ucbench.models.cache import ROOM, RoomyLayer, with_room


@given(st.lists(st.integers(1, ROOM + 30), min_size=1, max_size=6), st.integers(1, 3))
def test_it_holds_what_that_of_transformers_holds(lengths: list[int], rows: int) -> None:
    ours, theirs = RoomyLayer(), DynamicLayer()
    generator = torch.Generator().manual_seed(0)
    for length in lengths:
        new = torch.randn(2, rows, 2, length, 3, generator=generator)
        for mine, other in zip(ours.update(*new), theirs.update(*new), strict=True):
            assert torch.equal(mine, other)
        assert ours.get_seq_length() == theirs.get_seq_length()
        assert ours.get_mask_sizes(1) == theirs.get_mask_sizes(1)


def test_a_step_copies_nothing_until_the_room_is_full() -> None:
    layer = RoomyLayer()
    layer.update(*torch.zeros(2, 1, 1, 5, 4))
    places = set()
    for _ in range(ROOM):
        keys, _ = layer.update(*torch.ones(2, 1, 1, 1, 4))
        places.add(keys.data_ptr())
    assert len(places) == 1
    keys, values = layer.update(*torch.full((2, 1, 1, 1, 4), 2.0))
    assert keys.data_ptr() not in places
    for kept in (keys, values):
        assert kept[0, 0, :, 0].tolist() == [0.0] * 5 + [1.0] * ROOM + [2.0]


@pytest.mark.parametrize("method", ["select", "repeat", "crop"])
def test_rows_that_were_exchanged_are_kept(method: str) -> None:
    layers = RoomyLayer(), DynamicLayer()
    for layer in layers:
        layer.update(*torch.arange(2 * 3 * 4.0).reshape(2, 3, 1, 4, 1))
        if method == "select":
            layer.batch_select_indices(torch.tensor([2, 0, 0, 1]))
        elif method == "repeat":
            layer.batch_repeat_interleave(2)
        else:
            layer.crop(-2)
        more = torch.full((2, layer.keys.shape[0], 1, 1, 1), 9.0)
        layer.update(*more)
        layer.update(*more)
    for mine, other in zip(*((layer.keys, layer.values) for layer in layers), strict=True):
        assert torch.equal(mine, other)


def test_every_layer_of_a_model_gets_one() -> None:
    cache = with_room(LlamaConfig(num_hidden_layers=3))
    assert [type(layer) for layer in cache.layers] == [RoomyLayer] * 3
    assert cache.layers[0] is not cache.layers[1]
