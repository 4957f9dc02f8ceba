"""The order of the training, as TRL iterates over it, and the pictures in it."""

from __future__ import annotations

import datasets
from PIL.Image import Image

from ucbench.align.baselines.plan import Plan
from ucbench.errors import BadImageError, UcbenchError
from ucbench.types import Sample


def places(plan: Plan) -> datasets.Dataset:
    """What TRL iterates over: the places of the order. The collators turn them into pictures and words.

    The empty column says that there are pictures.
    """
    n = plan.steps * plan.questions
    return datasets.Dataset.from_dict({"place": range(n), "image": [None] * n})


class Images:
    """Opened pictures, kept in memory as long as they are few. Raises `UcbenchError` for a broken one."""

    #: Bytes of pixels.
    LIMIT = 512 << 20

    def __init__(self) -> None:
        self._kept: dict[str, Image] = {}
        self._bytes = 0

    def __call__(self, sample: Sample) -> Image:
        """The sample's picture."""
        image = self._kept.get(sample.id)
        if image is None:
            try:
                image = sample.image.load()
            except BadImageError as error:
                raise UcbenchError(
                    f"the picture of {sample.id} cannot be read ({error}); remove it from the training data"
                ) from error
            size = image.width * image.height * 3
            if self._bytes + size <= self.LIMIT:
                self._kept[sample.id], self._bytes = image, self._bytes + size
        return image
