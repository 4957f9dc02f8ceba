"""The first request: does the service answer, to this key, as this model, with a picture?

It carries every parameter of the later ones, so that what the service does not take is known before the
first question.
"""

from __future__ import annotations

from dataclasses import replace

from ucbench.errors import AccessError, ModelError
from ucbench.models.endpoint.client import ChatClient
from ucbench.models.endpoint.failures import (
    BadRequestError,
    ChatError,
    NotFoundError,
    RefusedError,
    RequestError,
    UnavailableError,
    UnreachableError,
)
from ucbench.models.endpoint.messages import ChatRequest, Reply, data_uri

#: Large enough for every vision tower.
SIDE = 224


def probe(client: ChatClient, like: ChatRequest) -> Reply | None:
    """Ask with the parameters of `like` about a white picture; None when a content filter stopped even that.

    Raises `AccessError`, `ModelError` or the client's `ServiceError`, each with one sentence.
    """
    from PIL import Image

    picture = data_uri(Image.new("RGB", (SIDE, SIDE), "white"))
    request = replace(like, text="Say yes if this picture is white.", image=picture)
    try:
        return client.complete(request)
    except RefusedError:
        return None
    except (BadRequestError, NotFoundError, UnavailableError) as failure:
        if not isinstance(failure, UnreachableError) and _answers(client, replace(request, image=None)):
            raise ModelError(
                f"{client.service.model} answers without a picture but not with one: {failure.reason}; "
                "choose a model that takes images"
            ) from failure
        if isinstance(failure, BadRequestError):
            raise ModelError(f"{client.service.model} cannot be asked: {failure.reason}") from failure
        if isinstance(failure, NotFoundError):
            raise
        raise AccessError(failure.reason) from failure
    except RequestError as failure:
        raise AccessError(failure.reason) from failure


def _answers(client: ChatClient, request: ChatRequest) -> bool:
    try:
        client.complete(request)
    except ChatError:
        return False
    return True
