"""What this machine has of all that ucbench can use, and what each lack means.

Every check looks, none changes anything; what needs the network waits for limited times. Nothing is required
but `python`, `packages`, `embedded` and `disk`: the rest is needed for some commands only.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ucbench.errors import AccessError, UcbenchError

if TYPE_CHECKING:
    from ucbench.hub.retry import Patience

Outcome = Literal["ok", "lack", "broken"]

#: The gated datasets that tracks ask for by default.
_GATED = {"unsafeconcepts": "yiting/UnsafeConcepts"}
#: A repository to ask the Hub about.
_ANY = "openai-community/gpt2"
#: So much free disk holds the weights of a model of 7 billion parameters, in bytes.
_WEIGHTS = 20 * 10**9
#: What a container may take of the memory, in bytes.
_LIMIT = Path("/sys/fs/cgroup/memory.max")
#: With less, not even a run of the embedded model can be written, in bytes.
_LEAST = 10**9


@dataclass(frozen=True, slots=True)
class Check:
    """One check: `ok`, `lack` (some commands will not work: `means`), `broken` (nothing will)."""

    name: str
    outcome: Outcome
    found: str
    means: str = ""


def examine(*, offline: bool = False) -> Iterator[Check]:
    """All checks, one after the other; `offline` leaves out what asks the Hub."""
    from ucbench.hub.redact import readable, redact

    for check in _examine(offline):
        # It may quote what others wrote, or what stands in a variable by mistake.
        yield replace(check, found=redact(readable(check.found)), means=redact(readable(check.means)))


def _examine(offline: bool) -> Iterator[Check]:
    yield _python()
    yield _packages()
    yield _embedded()
    yield _torch()
    yield _memory()
    yield _disk()
    if offline:
        return
    hub = _hub()
    yield hub
    if hub.outcome != "ok":
        return
    yield _token()
    for track, dataset in _GATED.items():
        yield _gated(track, dataset)
    for name in ("UCBENCH_STORE", "UCBENCH_RESULTS_STORE"):
        if os.environ.get(name):
            yield _store(name, os.environ[name])


def _python() -> Check:
    found = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info[:2] != (3, 11):
        return Check(
            "python", "broken", found, "ucbench is made for Python 3.11: make a new environment with it"
        )
    return Check("python", "ok", found)


def _packages() -> Check:
    """The installed packages against the versions that this ucbench was tested with."""
    wrong, missing, n = [], [], 0
    try:
        requirements = metadata.requires("ucbench") or []
    except metadata.PackageNotFoundError:
        advice = "versions are not checked; `pip install -e .` in the clone installs it"
        return Check("packages", "lack", "ucbench runs without being installed", advice)
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)==([\w.]+)", requirement.partition(";")[0].strip())
        if match is None:
            continue
        n += 1
        name, wanted = match.groups()
        try:
            there = metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
            continue
        # A build for another accelerator is the same version: 2.13.0+cu130.
        if there.partition("+")[0] != wanted:
            wrong.append(f"{name} {there} (tested: {wanted})")
    if missing:
        told = f"{', '.join(missing)} missing"
        return Check("packages", "broken", told, "install them: `pip install -r requirements.txt`")
    if wrong:
        advice = "scores may differ from those of others; `pip install -r requirements.txt` brings them back"
        return Check("packages", "lack", ", ".join(wrong), advice)
    return Check("packages", "ok", f"{n} as pinned")


def _embedded() -> Check:
    from ucbench.models import registry

    name, folder = next(iter(registry.EMBEDDED.items()))
    size = sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0
    if not (folder / "model.safetensors").is_file():
        return Check("embedded", "broken", f"{name} is not in the package", "install ucbench again")
    return Check("embedded", "ok", f"{name}, {size / 1e6:.0f} MB")


def _torch() -> Check:
    import torch

    version = f"torch {torch.__version__}"
    if not torch.cuda.is_available():
        return Check(
            "gpu", "lack", f"{version}, no GPU that it can use",
            "the embedded model and servers (--endpoint, --provider) work; a model of 7 billion parameters "
            "needs a GPU with some 16 GB",
        )  # fmt: skip
    parts = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        parts.append(
            f"{torch.cuda.get_device_name(index)}, {free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
        )
    return Check("gpu", "ok", f"{version}, CUDA {torch.version.cuda}: {'; '.join(parts)}")


def _memory() -> Check:
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # "max" is no number
        total = min(total, int(_LIMIT.read_text()))
    return Check("memory", "ok", f"{total / 2**30:.0f} GiB, {len(os.sched_getaffinity(0))} cores")


def _disk() -> Check:
    from huggingface_hub import constants

    try:
        here, weights = Path.cwd(), _existing(Path(constants.HF_HUB_CACHE))
        free = shutil.disk_usage(here).free, shutil.disk_usage(weights).free
    except OSError as error:
        told = f"{error.filename or 'this folder'}: {error.strerror}"
        return Check("disk", "broken", told, "go to a folder of your own, and name one in HF_HOME")
    told = f"{free[0] / 1e9:.0f} GB free here, {free[1] / 1e9:.0f} GB for weights"
    if not os.access(here, os.W_OK):
        return Check("disk", "broken", f"{here} cannot be written to", "go to a folder of your own")
    if free[0] < _LEAST:
        return Check("disk", "broken", told, "runs cannot be written: make room")
    if not os.access(weights, os.W_OK):
        found = f"{weights} cannot be written to"
        return Check("disk", "lack", found, "weights cannot be downloaded: name another folder in HF_HOME")
    if free[1] < _WEIGHTS:
        return Check("disk", "lack", told, "a model of 7 billion parameters needs some 15 GB: set HF_HOME")
    return Check("disk", "ok", told)


def _existing(path: Path) -> Path:
    return next(each for each in (path, *path.parents) if each.exists())


def _quick() -> Patience:
    from ucbench.hub.retry import Patience

    return Patience(attempts=2, unreachable=1, first=0.2, connect=5.0, answer=15.0)


def _hub() -> Check:
    from huggingface_hub import HfApi, constants

    from ucbench.hub.retry import patiently

    endpoint = constants.ENDPOINT
    try:
        api = HfApi(endpoint=endpoint, token=False)
        # Whether it is there does not matter: an answer does.
        patiently(lambda: api.repo_exists(_ANY), _quick(), "models and data", endpoint)
    except UcbenchError as error:
        return Check(
            "hub", "lack", str(error),
            "pictograms, local models and local stores work; models and datasets of the Hub do not",
        )  # fmt: skip
    return Check("hub", "ok", f"{endpoint} answers")


def _token() -> Check:
    from huggingface_hub import HfApi, constants, get_token

    from ucbench.hub.retry import patiently, status_of

    advice = "gated models and data, submitting and publishing need one: `hf auth login` or HF_TOKEN"
    if get_token() is None:
        return Check("token", "lack", "nobody is logged in", advice)
    try:
        told = patiently(HfApi(endpoint=constants.ENDPOINT).whoami, _quick(), "the Hub", constants.ENDPOINT)
    except UcbenchError as error:
        found = f"{constants.ENDPOINT} does not take this token" if status_of(error) == 401 else str(error)
        return Check("token", "lack", found, advice)
    role = (told.get("auth") or {}).get("accessToken", {}).get("role", "unknown")
    orgs = ", ".join(org["name"] for org in told.get("orgs", []))
    found = f"{told['name']}{f' ({orgs})' if orgs else ''}, role {role}"
    if role == "read":
        return Check("token", "lack", found, "it may not write: submissions and results become pull requests")
    return Check("token", "ok", found)


def _reached(ask: Callable[[], object], what: str) -> UcbenchError | None:
    from huggingface_hub import constants

    from ucbench.hub.retry import patiently

    try:
        patiently(ask, _quick(), what, constants.ENDPOINT)
    except UcbenchError as error:
        return error
    return None


def _gated(track: str, dataset: str) -> Check:
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    error = _reached(lambda: api.auth_check(dataset, repo_type="dataset"), dataset)
    if error is None:
        return Check(track, "ok", f"{dataset} may be read")
    return Check(
        track, "lack", str(error),
        f"--track {track} works with --data only; {constants.ENDPOINT}/datasets/{dataset} is where access is "
        "asked for",
    )  # fmt: skip


def _store(name: str, address: str) -> Check:
    from ucbench.hub.store import HUB, not_there, open_store

    check = name.lower().removeprefix("ucbench_")
    if not_there(address):
        return Check(check, "lack", f"there is no folder {address} yet", "what is written first makes it")
    try:
        store = open_store(address)
        store.head()
        account = store.whoami()
    except AccessError as error:
        return Check(check, "lack", str(error), f"{name} cannot be used with this token")
    except UcbenchError as error:
        return Check(check, "lack", str(error), f"mend what {name} says")
    owner = address.removeprefix(HUB).partition("/")[0]
    if address.startswith(HUB) and owner not in _names():
        return Check(
            check, "lack", f"{address}, as {account}, who is not of {owner}",
            "it can be read; what is submitted or published becomes a pull request",
        )  # fmt: skip
    return Check(check, "ok", f"{address}, as {account}")


def _names() -> set[str]:
    """The account of the token and its organisations."""
    from huggingface_hub import HfApi, constants

    from ucbench.hub.retry import patiently

    told = patiently(HfApi(endpoint=constants.ENDPOINT).whoami, _quick(), "the Hub", constants.ENDPOINT)
    return {told["name"], *(org["name"] for org in told.get("orgs", []))}
