"""Embedding every picture of a source once: reading, decoding and encoding overlap."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from ucbench.compile.clip import Encoder, Floats
from ucbench.compile.sources import Item, Source
from ucbench.compile.store import Embedded, EmbeddingStore
from ucbench.errors import BadImageError
from ucbench.images import read_image

#: A part is written when it has that many pictures or is that old: a kill loses no more.
PART_PICTURES, PART_SECONDS = 1024, 60.0


def embed(
    source: Source,
    encoder: Encoder,
    store: EmbeddingStore,
    *,
    batch_size: int = 64,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> None:
    """Embed what `store` does not know yet. Killed at any moment, the next call goes on from there.

    `progress` gets (done, total) in pictures of the source.
    """
    items = source.items()
    with store.writing():
        known = store.known()
        todo = [item for item in items if item not in known]
        done = len(items) - len(todo)
        progress(done, len(items))
        part: list[Embedded] = []
        begun = time.monotonic()
        for batch in _prepared(source, encoder, todo, batch_size):
            part += _encoded(encoder, batch)
            done += len(batch)
            if len(part) >= PART_PICTURES or time.monotonic() - begun > PART_SECONDS:
                store.append(part)
                part, begun = [], time.monotonic()
            progress(done, len(items))
        if part:
            store.append(part)


#: Item, hash and prepared pixels, or the problem.
_Prepared = tuple[Item, str | None, Floats | None, str | None]


def _prepared(
    source: Source, encoder: Encoder, todo: Sequence[Item], batch_size: int
) -> Iterator[list[_Prepared]]:
    """Batches of prepared pictures; the next batch is decoded while this one is encoded."""
    contents = zip(todo, source.scan([item.reference for item in todo]), strict=True)
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:

        def start() -> list[Future[_Prepared]]:
            # Decoding and scaling let go of the interpreter's lock, so threads do.
            return [
                pool.submit(_prepare, encoder, item, content)
                for item, (_, content) in islice(contents, batch_size)
            ]

        ahead = start()
        while ahead:
            now, ahead = ahead, start()
            yield [future.result() for future in now]


def _prepare(encoder: Encoder, item: Item, content: bytes | BadImageError) -> _Prepared:
    if isinstance(content, BadImageError):
        return item, None, None, str(content)
    try:
        image = read_image(content)
    except BadImageError as error:
        return item, None, None, str(error)
    return item, hashlib.sha256(content).hexdigest(), encoder.prepare(image), None


def _encoded(encoder: Encoder, batch: Sequence[_Prepared]) -> list[Embedded]:
    pixels = [picture for _, _, picture, _ in batch if picture is not None]
    vectors = iter(encoder.images(pixels) if pixels else ())
    return [
        Embedded(item, sha256, next(vectors) if picture is not None else None, problem)
        for item, sha256, picture, problem in batch
    ]
