"""From a service to a model that can be asked."""

from __future__ import annotations

from ucbench.models.endpoint.client import ChatClient, Service
from ucbench.models.endpoint.costs import Prices
from ucbench.models.endpoint.probe import probe
from ucbench.models.endpoint.retries import Policy
from ucbench.models.endpoint.vlm import EndpointVLM, request_like
from ucbench.record import Decoding, Entry


def load(
    service: Service,
    *,
    decoding: Decoding,
    system_prompt: str | None = None,
    prices: Prices | None = None,
    policy: Policy | None = None,
) -> EndpointVLM:
    """Ask a first question, and return the model with its identity.

    On the entry the model is `endpoint:ID` or `provider:NAME:ID`; the revision is the version that the
    service says it answered with, where it says another name than was asked for (`gpt-4o-2024-08-06` for
    `gpt-4o`). The address is no part of the identity: a server may move. Nor is a fingerprint, of which
    services report several from one request to the next; the record's notes hold both.
    Raises `AccessError`, `ModelError` or a `ServiceError`, each with one sentence.
    """
    client = ChatClient(service, policy)
    entry = Entry(model=public_name(service), system_prompt=system_prompt, decoding=decoding)
    try:
        reply = probe(client, request_like(entry))
    except BaseException:
        client.close()
        raise
    reported = reply.model if reply else None
    # Automatic routing may choose another host, with its own name for the model, for each request.
    if reported and reported != service.model and service.provider != "auto":
        entry = entry.model_copy(update={"revision": reported})
    return EndpointVLM(client, entry, prices)


def public_name(service: Service) -> str:
    """The model's name on the entry. Of a path, which vLLM serves under by default, only the last part."""
    name = service.model
    if name.startswith(("/", ".", "~")):
        name = name.rstrip("/").rpartition("/")[2]
    return f"endpoint:{name}" if service.endpoint is not None else f"provider:{service.provider}:{name}"
