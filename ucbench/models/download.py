"""A model of the Hugging Face Hub, resolved to one commit and brought to this machine."""

from __future__ import annotations

from pathlib import Path

from ucbench.errors import AccessError, UnknownNameError
from ucbench.models.checkpoint import PATTERNS

#: What is ever downloaded: an adapter's own files as well; `*.safetensors` is among the patterns.
FILES = [*PATTERNS, "adapter_config.json", "align.json"]


def fetch(name: str, revision: str | None = None) -> tuple[Path, str]:
    """Return (folder, commit SHA) of `owner/name` at a branch, tag or commit.

    What was downloaded before is used when the Hub cannot be reached. Raises `UnknownNameError` for a
    name or revision that the Hub does not have, `AccessError` for a gated or unreachable one.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # exported lazily

    try:
        sha = HfApi().model_info(name, revision=revision).sha
        folder = snapshot_download(name, revision=sha, allow_patterns=FILES)
    except GatedRepoError as error:
        raise AccessError(
            f"{name} is gated; ask for access at https://huggingface.co/{name}, run `hf auth login`, "
            "then start the same command again"
        ) from error
    except RepositoryNotFoundError as error:
        raise UnknownNameError(
            f"the Hub has no model {name} that you can see; check the name, or run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise UnknownNameError(f"{name} has no revision {revision} on the Hub") from error
    except (HfHubHTTPError, httpx.TransportError, OSError) as error:
        # Offline mode and broken connections arrive as OSError.
        kept = _cached(name, revision)
        if kept is None:
            raise AccessError(
                f"there is no folder {name} here, and the Hub cannot be reached for a model of that name; "
                "check the path, or the connection"
            ) from error
        return kept
    return Path(folder), str(sha)


def _cached(name: str, revision: str | None) -> tuple[Path, str] | None:
    from huggingface_hub import snapshot_download

    try:
        folder = Path(
            snapshot_download(name, revision=revision, allow_patterns=FILES, local_files_only=True)
        )
    except OSError:
        return None
    return folder, folder.name  # snapshots are named by their commit
