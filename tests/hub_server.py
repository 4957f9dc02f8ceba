"""A small Hugging Face Hub for tests: the real clients talk to it over HTTP, and it fails on demand.

    with HubServer(tmp_path) as hub:
        hub.add_account("alice", "hf_alice", orgs=["acme"])
        hub.create_repo("dataset", "acme/store")
        hub.faults.add("500-after", method="POST", path="*/commit/*")
        api = HfApi(endpoint=hub.url, token="hf_alice")

Or as a process of its own, which keeps its state over restarts and SIGKILL:

    python tests/hub_server.py --port 8500 --state DIR --account alice:hf_alice:acme

Repositories are trees of content hashes under commits with random 40-hex ids, in plain files under the state
folder. What a server was asked is in `requests` and at GET /_requests; faults are set through `faults` or by
another process through /_faults (POST a list of faults, DELETE to clear), accounts and repositories through
POST /_accounts and /_repos. No token is ever logged.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import fnmatch
import hashlib
import json
import math
import random
import re
import secrets
import shutil
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import unquote

import uvicorn
import yaml
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

Json = dict[str, Any]

KINDS = ("model", "dataset", "space")
LFS_ENDINGS = (
    ".parquet",
    ".safetensors",
    ".bin",
    ".pt",
    ".pkl",
    ".png",
    ".jpg",
    ".arrow",
    ".npz",
    ".zip",
    ".gz",
)
REPO_ID = re.compile(r"^[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}$")
ATTRIBUTES = "".join(f"*{ending} filter=lfs diff=lfs merge=lfs -text\n" for ending in LFS_ENDINGS).encode()


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(self, status: int, message: str, code: str | None = None, **body: Any) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.body = status, message, code, body

    def response(self) -> Response:
        headers = {"X-Error-Message": self.message.encode("ascii", "replace").decode().replace("\n", " ")}
        if self.code:
            headers["X-Error-Code"] = self.code
        return JSONResponse({"error": self.message, **self.body}, self.status, headers)


def missing_repo(account: str | None) -> RefusedError:
    # Anonymous callers get 401 for what may be private, as on the Hub.
    return RefusedError(404 if account else 401, "Repository not found", "RepoNotFound")


STALE = "A commit has happened since. Please refresh and try again."
MESSAGES = {409: "Another operation is in progress", 412: STALE, 429: "Too Many Requests"}


@dataclass
class Fault:
    """What goes wrong with requests that match.

    kind: a status ("412", "429", "500", ...) answered before anything landed; "500-after" the same once the
    request has done its work; "cut" and "cut-after" reset the connection; "half" breaks off in the middle of
    the answer; "slow" and "slow-after" wait `seconds`. `seconds` is the Retry-After of a 429 and 503 too.
    path: shell pattern of the decoded path. times: how often (None: always). rate: how probable.
    """

    kind: str
    method: str = "*"
    path: str = "*"
    times: int | None = 1
    rate: float = 1.0
    seconds: float = 0.0
    skip: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        base = self.kind.removesuffix("-after")
        assert base in ("cut", "slow") or self.kind == "half" or base.isdigit(), f"no such fault: {self.kind}"

    def strikes(self, method: str, path: str, draw: random.Random) -> bool:
        if self.method not in ("*", method) or not fnmatch.fnmatchcase(path, self.path):
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.rate < 1 and draw.random() >= self.rate:
            return False
        self.hits += 1
        return True


class Faults:
    """The faults a server has been told to make, in order; the first that matches strikes."""

    def __init__(self, seed: int = 0) -> None:
        self._all: list[Fault] = []
        self._draw = random.Random(seed)
        self._lock = threading.Lock()

    def add(self, kind: str, **how: Any) -> Fault:
        fault = Fault(kind, **how)
        with self._lock:
            self._all.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._all.clear()

    def all(self) -> list[Json]:
        with self._lock:
            return [asdict(fault) for fault in self._all]

    def strike(self, method: str, path: str) -> Fault | None:
        with self._lock:
            return next((fault for fault in self._all if fault.strikes(method, path, self._draw)), None)


@dataclass
class Asked:
    """One request as the server saw it."""

    method: str
    path: str
    account: str | None
    status: int = 0
    fault: str | None = None


@dataclass
class Repo:
    """Settings and refs of a repository; its commits lie beside it, one file each."""

    kind: str
    id: str
    private: bool = False
    gated: bool | str = False
    created: str = ""
    writers: list[str] = field(default_factory=list)
    granted: list[str] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    discussions: list[Json] = field(default_factory=list)
    sdk: str | None = None
    variables: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return self.id.split("/")[0]


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def whole(path: Path, content: bytes) -> None:
    """Write a file so that a killed server leaves the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    temporary.write_bytes(content)
    temporary.replace(path)


def kind_of(name: str) -> str:
    kind = name.removesuffix("s")
    assert kind in KINDS, name
    return kind


def prefix_of(kind: str) -> str:
    return "" if kind == "model" else f"{kind}s/"


class State:
    """Accounts, repositories, commits and blobs on disk. All methods are safe to call from any thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lock = threading.RLock()
        self._commits: dict[str, Json] = {}
        self._tensors: dict[str, dict[str, int]] = {}
        self._load()

    def _load(self) -> None:
        accounts = self.root / "accounts.json"
        self.accounts: dict[str, Json] = json.loads(accounts.read_bytes()) if accounts.exists() else {}
        self.repos: dict[tuple[str, str], Repo] = {}
        for path in self.root.glob("repos/*/*/*/repo.json"):
            repo = Repo(**json.loads(path.read_bytes()))
            self.repos[repo.kind, repo.id.lower()] = repo

    def clear(self) -> None:
        with self.lock:
            shutil.rmtree(self.root, ignore_errors=True)
            self._commits.clear()
            self._load()

    # Accounts

    def add_account(self, name: str, token: str, orgs: Iterable[str], role: str) -> None:
        with self.lock:
            self.accounts[token] = {"name": name, "orgs": list(orgs), "role": role}
            whole(self.root / "accounts.json", json.dumps(self.accounts, indent=1).encode())

    def account(self, header: str | None) -> Json | None:
        """The account of an Authorization header; None without one."""
        if not header:
            return None
        found = self.accounts.get(header.removeprefix("Bearer "))
        if found is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        return found

    def may_write(self, repo_namespace: str, writers: list[str], account: Json | None) -> bool:
        if account is None or account["role"] != "write":
            return False
        return account["name"] in (repo_namespace, *writers) or repo_namespace in account["orgs"]

    # Repositories

    def folder(self, repo: Repo) -> Path:
        return self.root / "repos" / repo.kind / repo.id.lower()

    def save(self, repo: Repo) -> None:
        whole(self.folder(repo) / "repo.json", json.dumps(asdict(repo), indent=1).encode())

    def create(self, kind: str, repo_id: str, **settings: Any) -> Repo:
        with self.lock:
            if not REPO_ID.match(repo_id):
                raise RefusedError(400, f"Invalid repository name: {repo_id}")
            if (kind, repo_id.lower()) in self.repos:
                url = f"{prefix_of(kind)}{repo_id}"
                raise RefusedError(409, "You already created this repo", url=url, name=repo_id)
            repo = Repo(kind, repo_id, created=now(), **settings)
            shutil.rmtree(self.folder(repo), ignore_errors=True)
            self.repos[kind, repo_id.lower()] = repo
            attributes = {".gitattributes": self.blob(ATTRIBUTES)}
            self.land(repo, "main", [], attributes, "initial commit", "", repo.namespace)
            return repo

    def delete(self, repo: Repo) -> None:
        with self.lock:
            del self.repos[repo.kind, repo.id.lower()]
            shutil.rmtree(self.folder(repo), ignore_errors=True)

    def find(self, kind: str, repo_id: str, account: Json | None) -> Repo:
        name = account["name"] if account else None
        repo = self.repos.get((kind, repo_id.lower()))
        if repo is None:
            raise missing_repo(name)
        if repo.private:
            member = account and (
                name in (repo.namespace, *repo.writers, *repo.granted) or repo.namespace in account["orgs"]
            )
            if not member:
                raise missing_repo(name)
        return repo

    def check_content(self, repo: Repo, account: Json | None) -> None:
        """Gated files are for those who have been let in."""
        if not repo.gated or (account and account["name"] in repo.granted):
            return
        if account and (
            account["name"] in (repo.namespace, *repo.writers) or repo.namespace in account["orgs"]
        ):
            return
        message = f"Access to {repo.kind} {repo.id} is restricted."
        raise RefusedError(403 if account else 401, message, "GatedRepo")

    # Contents

    def blob(self, content: bytes) -> Json:
        """Store a regular file; its entry in a tree."""
        oid = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        path = self.root / "blobs" / oid[:2] / oid
        if not path.exists():
            whole(path, content)
        return {"oid": oid, "size": len(content)}

    def lfs_path(self, sha256: str) -> Path:
        return self.root / "lfs" / sha256[:2] / sha256

    def lfs(self, sha256: str) -> Json:
        """The entry of an uploaded large file."""
        path = self.lfs_path(sha256)
        if not path.exists():
            raise RefusedError(400, f"LFS object {sha256} has not been uploaded")
        size = path.stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
        oid = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer).hexdigest()
        return {"oid": oid, "size": size, "lfs": sha256, "pointer": len(pointer)}

    def content(self, entry: Json) -> Path:
        if "lfs" in entry:
            return self.lfs_path(entry["lfs"])
        return self.root / "blobs" / entry["oid"][:2] / entry["oid"]

    def is_lfs(self, path: str, size: int) -> bool:
        return path.endswith(LFS_ENDINGS) or size > 10_000_000

    # Commits

    def revision(self, repo: Repo, name: str) -> str:
        """The commit that a branch, tag, pull request or id stands for."""
        name = name.removeprefix("refs/heads/").removeprefix("refs/tags/")
        if name in repo.refs:
            return repo.refs[name]
        if re.fullmatch(r"[0-9a-f]{40}", name) and self._path(repo, name).exists():
            return name
        raise RefusedError(404, f"Invalid rev id: {name}", "RevisionNotFound")

    def _path(self, repo: Repo, commit: str) -> Path:
        return self.folder(repo) / "commits" / f"{commit}.json"

    def commit(self, repo: Repo, commit: str) -> Json:
        if commit not in self._commits:
            self._commits[commit] = json.loads(self._path(repo, commit).read_bytes())
        return self._commits[commit]

    def tree(self, repo: Repo, commit: str) -> dict[str, Json]:
        """Path to entry, of files alone."""
        found: dict[str, Json] = self.commit(repo, commit)["tree"]
        return found

    def land(
        self,
        repo: Repo,
        ref: str,
        parents: list[str],
        tree: dict[str, Json],
        title: str,
        message: str,
        author: str,
    ) -> str:
        """Write a commit, then move the ref: the one step that makes it exist."""
        commit = {
            "id": secrets.token_hex(20), "parents": parents, "title": title, "message": message,
            "author": author, "date": now(), "tree": dict(sorted(tree.items())),
        }  # fmt: skip
        with self.lock:
            whole(self._path(repo, commit["id"]), json.dumps(commit).encode())
            self._commits[commit["id"]] = commit
            repo.refs[ref] = commit["id"]
            self.save(repo)
        return str(commit["id"])

    def history(self, repo: Repo, commit: str) -> Iterable[Json]:
        following: list[str] = [commit]
        while following:
            found = self.commit(repo, following[0])
            yield found
            following = found["parents"][:1]

    def last_change(self, repo: Repo, commit: str, path: str) -> Json:
        """The commit that made a file what it is at `commit`."""
        entry, last = self.tree(repo, commit)[path], {}
        for each in self.history(repo, commit):
            if each["tree"].get(path) != entry:
                break
            last = each
        return last

    def tensors(self, repo: Repo, commit: str) -> Json | None:
        """Parameters by dtype of the safetensors files at the root, as the Hub reports them."""
        total: dict[str, int] = {}
        for path, entry in self.tree(repo, commit).items():
            if path.endswith(".safetensors") and "/" not in path and not path.startswith("adapter_"):
                for dtype, count in self._count(entry).items():
                    total[dtype] = total.get(dtype, 0) + count
        return {"parameters": total, "total": sum(total.values())} if total else None

    def _count(self, entry: Json) -> dict[str, int]:
        if entry["oid"] not in self._tensors:
            counts: dict[str, int] = {}
            with (
                contextlib.suppress(ValueError, KeyError, TypeError, AttributeError),
                self.content(entry).open("rb") as stream,
            ):
                size = int.from_bytes(stream.read(8), "little")
                header = json.loads(stream.read(min(size, 100_000_000)))
                for name, tensor in header.items():
                    if name != "__metadata__":
                        counts[tensor["dtype"]] = counts.get(tensor["dtype"], 0) + math.prod(tensor["shape"])
            self._tensors[entry["oid"]] = counts
        return self._tensors[entry["oid"]]

    def card(self, repo: Repo, commit: str) -> Json | None:
        """The YAML at the top of the README."""
        entry = self.tree(repo, commit).get("README.md")
        return front_matter(self.content(entry).read_text("utf-8", "replace")) if entry else None


def front_matter(text: str) -> Json | None:
    """The metadata of a card; None without any. Raises `yaml.YAMLError`.

    None too for a card that would keep this server busy: bombs of aliases, deep nesting, megabytes.
    """
    match = re.match(r"^---\r?\n(.*?)\r?\n---(\r?\n|$)", text[:100_000], re.DOTALL)
    if match and re.search(r"(^|[\s\[{,:-])\*\w|\[{20}|\{{20}", match[1]):
        return None
    loaded = yaml.safe_load(match[1]) if match else None
    return loaded if isinstance(loaded, dict) else None


class HubServer:
    """The server, in a thread of this process."""

    def __init__(self, state: Path, *, port: int = 0, page: int = 1000, seed: int = 0) -> None:
        self.state = State(Path(state))
        self.faults = Faults(seed)
        self.requests: list[Asked] = []
        self._page = page
        # By its protocol asyncio knows that it must not wait for acknowledgements: 40 ms a request otherwise.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            self._serve, interface="asgi3", proxy_headers=False, lifespan="off", backlog=512,
            log_level="critical", access_log=False, timeout_graceful_shutdown=1,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],), daemon=True)

    # Life

    def start(self) -> HubServer:
        self._thread.start()
        while not self._server.started:
            time.sleep(0.005)
        return self

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)

    def __enter__(self) -> HubServer:
        return self.start()

    def __exit__(
        self, _type: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        self.stop()

    def run(self) -> None:
        """Serve in this thread until a signal."""
        self._server.run([self._socket])

    def reset(self) -> None:
        """Forget everything: accounts, repositories, faults and what was asked."""
        self.state.clear()
        self.faults.clear()
        self.requests.clear()

    # What tests set up and look at, without HTTP

    def add_account(self, name: str, token: str, orgs: Iterable[str] = (), role: str = "write") -> None:
        """An account, or one more token of it; `role` "read" may not write."""
        self.state.add_account(name, token, orgs, role)

    def create_repo(
        self,
        kind: str,
        repo_id: str,
        *,
        private: bool = False,
        gated: bool | str = False,
        owner: str | None = None,
    ) -> None:
        """A repository with one commit; `owner` may write to it besides the members of its namespace."""
        writers = [owner] if owner else []
        self.state.create(kind_of(kind), repo_id, private=private, gated=gated, writers=writers)

    def repo(self, kind: str, repo_id: str) -> Repo:
        return self.state.repos[kind_of(kind), repo_id.lower()]

    def grant(self, kind: str, repo_id: str, account: str) -> None:
        """Let an account into a gated or private repository."""
        repo = self.repo(kind, repo_id)
        repo.granted.append(account)
        self.state.save(repo)

    def commit(
        self,
        kind: str,
        repo_id: str,
        files: Mapping[str, bytes | None],
        *,
        author: str | None = None,
        message: str = "Update",
        revision: str = "main",
    ) -> str:
        """Change files behind everybody's back; None deletes. Returns the commit's id."""
        state, repo = self.state, self.repo(kind, repo_id)
        with state.lock:
            parent = state.revision(repo, revision)
            tree = dict(state.tree(repo, parent))
            for path, content in files.items():
                if content is None:
                    del tree[path]
                elif state.is_lfs(path, len(content)):
                    sha256 = hashlib.sha256(content).hexdigest()
                    whole(state.lfs_path(sha256), content)
                    tree[path] = state.lfs(sha256)
                else:
                    tree[path] = state.blob(content)
            return state.land(repo, revision, [parent], tree, message, "", author or repo.namespace)

    def files(self, kind: str, repo_id: str, revision: str = "main") -> dict[str, bytes]:
        """All files at a revision, but for .gitattributes."""
        state, repo = self.state, self.repo(kind, repo_id)
        tree = state.tree(repo, state.revision(repo, revision))
        return {p: state.content(e).read_bytes() for p, e in tree.items() if p != ".gitattributes"}

    def commits(self, kind: str, repo_id: str, revision: str = "main") -> list[Json]:
        """The history, newest first: id, parents, title, message, author, date, tree."""
        state, repo = self.state, self.repo(kind, repo_id)
        return list(state.history(repo, state.revision(repo, revision)))

    def head(self, kind: str, repo_id: str) -> str:
        return self.repo(kind, repo_id).refs["main"]

    # HTTP

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path, method = unquote(scope["raw_path"].split(b"?")[0].decode()), scope["method"]
        asked = Asked(method, path, None)
        fault = None if path.startswith("/_") else self.faults.strike(method, path)
        if not path.startswith("/_"):
            self.requests.append(asked)
        if fault is None:
            await self._answer(scope, receive, send, asked)
            return
        asked.fault, asked.status = fault.kind, 0
        kind, after = fault.kind.removesuffix("-after"), fault.kind.endswith("-after")
        if after:
            kept: list[Message] = []

            async def keep(message: Message) -> None:
                kept.append(message)

            await self._answer(scope, receive, keep, asked)
        else:
            # A client that is still sending must not mistake our answer for a broken connection.
            receive = await self._read(receive)
        if kind == "cut":
            send.__self__.transport.abort()  # type: ignore[attr-defined]
        elif kind == "half":
            await self._answer(scope, receive, self._halved(send), asked)
        elif kind == "slow":
            await asyncio.sleep(fault.seconds)
            if after:
                for message in kept:
                    await send(message)
            else:
                await self._answer(scope, receive, send, asked)
        else:
            asked.status = int(kind)
            response = RefusedError(
                int(kind), MESSAGES.get(int(kind), "Internal Error - We're working on it")
            ).response()
            if asked.status in (429, 503):
                response.headers["Retry-After"] = f"{fault.seconds:g}"
            await response(scope, receive, send)

    async def _read(self, receive: Receive) -> Receive:
        messages = [await receive()]
        while messages[-1].get("more_body"):
            messages.append(await receive())

        async def again() -> Message:
            return messages.pop(0) if messages else await receive()

        return again

    def _halved(self, send: Send) -> Send:
        async def half(message: Message) -> None:
            if message["type"] == "http.response.body":
                body = message.get("body", b"")
                await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
                await asyncio.sleep(0.01)
                send.__self__.transport.abort()  # type: ignore[attr-defined]
            else:
                await send(message)

        return half

    async def _answer(self, scope: Scope, receive: Receive, send: Send, asked: Asked) -> None:
        request = Request(scope, receive)
        try:
            if asked.path.startswith("/_"):
                response = await self._control(request, asked)
            else:
                account = self.state.account(request.headers.get("authorization"))
                asked.account = account["name"] if account else None
                response = await self._route(request, account)
        except RefusedError as refused:
            response = refused.response()
        except Exception as error:
            # A fault of this server, not one on demand: no test may take it for the Hub's.
            traceback.print_exc()
            response = RefusedError(501, f"The test server failed: {error!r}").response()
        asked.status = response.status_code
        await response(scope, receive, send)

    async def _control(self, request: Request, asked: Asked) -> Response:
        """What another process may steer: /_faults, /_accounts, /_repos, /_requests."""
        if asked.path == "/_faults":
            if request.method == "DELETE":
                self.faults.clear()
            elif request.method == "POST":
                for fault in await request.json():
                    self.faults.add(**fault)
            return JSONResponse(self.faults.all())
        if asked.path == "/_accounts" and request.method == "POST":
            self.add_account(**await request.json())
            return JSONResponse({})
        if asked.path == "/_repos" and request.method == "POST":
            self.create_repo(**await request.json())
            return JSONResponse({})
        if asked.path == "/_requests":
            return JSONResponse([asdict(each) for each in self.requests])
        raise RefusedError(404, "Not found")

    async def _route(self, request: Request, account: Json | None) -> Response:
        raw = request.scope["raw_path"].split(b"?")[0].decode()
        parts = [unquote(part) for part in raw.strip("/").split("/")]
        method = request.method
        match parts:
            case ["api", "whoami-v2"]:
                return self._whoami(account)
            case ["api", "validate-yaml"]:
                return self._validate(await request.json())
            case ["api", "repos", "create"]:
                return self._create(await request.json(), account)
            case ["api", "repos", "delete"]:
                return self._delete(await request.json(), account)
            case ["api", "models" | "datasets" | "spaces" as kinds]:
                return self._list(kind_of(kinds), request, account)
            case ["api", "models" | "datasets" | "spaces" as kinds, owner, name, *rest]:
                repo = self.state.find(kind_of(kinds), f"{owner}/{name}", account)
                return await self._api(repo, rest, request, account)
            case ["_lfs", *_]:
                raise RefusedError(404, "Not found")
        kind = "model"
        if parts[0] in ("datasets", "spaces"):
            kind = kind_of(parts.pop(0))
        match parts:
            case [owner, name, "info", "lfs", *rest] if name.endswith(".git"):
                repo_id = f"{owner}/{name.removesuffix('.git')}"
                # An upload goes to an address that was given to somebody who may; it carries no token.
                found = self.state.repos.get((kind, repo_id.lower())) if rest[:1] == ["upload"] else None
                repo = found or self.state.find(kind, repo_id, account)
                return await self._lfs(repo, rest, request, account)
            case [owner, name, "resolve" | "raw", revision, *path] if method in ("GET", "HEAD"):
                repo = self.state.find(kind, f"{owner}/{name}", account)
                return self._resolve(repo, revision, "/".join(path), request, account)
        raise RefusedError(404, "Sorry, we can't find the page you are looking for.")

    async def _api(self, repo: Repo, rest: list[str], request: Request, account: Json | None) -> Response:
        state = self.state
        match [request.method, *rest]:
            case ["GET"]:
                return self._info(repo, "main", request)
            case ["GET", "revision", revision]:
                return self._info(repo, revision, request)
            case ["GET", "tree", revision, *path]:
                return self._tree(repo, revision, "/".join(path), request)
            case ["GET", "commits", revision]:
                return self._commits(repo, revision, request)
            case ["GET", "refs"]:
                return self._refs(repo)
            case ["POST", "paths-info", revision]:
                return await self._paths_info(repo, revision, request)
            case ["POST", "preupload", revision]:
                return self._preupload(repo, revision, await request.json(), request, account)
            case ["POST", "commit", revision]:
                return self._commit(repo, revision, await request.body(), request, account)
            case ["POST", "branch" | "tag", name, *_]:
                body = await request.json()
                self._check_write(repo, account)
                if name in repo.refs:
                    raise RefusedError(409, f"Reference {name} already exists")
                with state.lock:
                    repo.refs[body.get("tag", name)] = state.revision(
                        repo, body.get("startingPoint", name if rest[0] == "tag" else "main")
                    )
                    state.save(repo)
                return JSONResponse({})
            case ["PUT", "settings"]:
                self._check_write(repo, account)
                body = await request.json()
                with state.lock:
                    repo.gated = body.get("gated", repo.gated)
                    repo.private = (
                        body.get("visibility", "private" if repo.private else "public") == "private"
                    )
                    state.save(repo)
                return JSONResponse({"gated": repo.gated, "private": repo.private})
            case ["GET", "auth-check"]:
                state.check_content(repo, account)
                return Response()
            case ["GET", "auth-check", "write"]:
                self._check_write(repo, account)
                return Response()
            case [_, "variables" | "secrets" as what] if repo.kind == "space":
                return await self._settings(repo, what, request, account)
            case [_, "discussions", *rest]:
                return await self._discussions(repo, rest, request, account)
        raise RefusedError(404, f"Not found: {request.url.path}")

    async def _settings(self, repo: Repo, what: str, request: Request, account: Json | None) -> Response:
        """Variables of a Space with their values, its secrets without."""
        self._check_write(repo, account)
        held = repo.variables if what == "variables" else repo.secrets
        if request.method == "POST":
            body = await request.json()
            with self.state.lock:
                held[body["key"]] = body["value"]
                self.state.save(repo)
        shown = held if what == "variables" else dict.fromkeys(held)
        return JSONResponse({key: {"key": key, "value": value} for key, value in shown.items()})

    def _check_write(self, repo: Repo, account: Json | None) -> None:
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        if not self.state.may_write(repo.namespace, repo.writers, account):
            raise RefusedError(
                403, f"You don't have the rights to write to {repo.id}; use a token with write role"
            )

    # Accounts and repositories

    def _whoami(self, account: Json | None) -> Response:
        if account is None:
            raise RefusedError(401, "Invalid credentials in Authorization header")
        orgs = [{"type": "org", "name": name, "roleInOrg": "write"} for name in account["orgs"]]
        access = {"displayName": "test", "role": account["role"]}
        identity = {
            "type": "user",
            "id": account["name"],
            "name": account["name"],
            "fullname": account["name"],
        }
        return JSONResponse(
            {**identity, "orgs": orgs, "auth": {"type": "access_token", "accessToken": access}}
        )

    def _validate(self, body: Json) -> Response:
        try:
            found = front_matter(body["content"])
        except yaml.YAMLError as error:
            raise RefusedError(400, "Invalid YAML", errors=[{"message": str(error)}], warnings=[]) from error
        warnings = [] if found else [{"message": "empty or missing yaml metadata in repo card"}]
        return JSONResponse({"errors": [], "warnings": warnings})

    def _create(self, body: Json, account: Json | None) -> Response:
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        namespace, kind = body.get("organization") or account["name"], body.get("type") or "model"
        if not self.state.may_write(namespace, [], account):
            raise RefusedError(
                403, f"You don't have the rights to create a {kind} under the namespace {namespace!r}"
            )
        private = body.get("visibility", "private" if body.get("private") else "public") == "private"
        repo_id = f"{namespace}/{body['name']}"
        url = f"{self.url}/{prefix_of(kind)}{repo_id}"
        try:
            if kind == "space" and not body.get("sdk"):
                raise RefusedError(400, "A Space needs an sdk")
            self.state.create(kind, repo_id, private=private, sdk=body.get("sdk"))
        except RefusedError as refused:
            if refused.status == 409:
                refused.body["url"] = url
            raise
        return JSONResponse({"url": url, "name": repo_id, "id": repo_id})

    def _delete(self, body: Json, account: Json | None) -> Response:
        namespace = body.get("organization") or (account["name"] if account else "")
        repo = self.state.find(body.get("type") or "model", f"{namespace}/{body['name']}", account)
        self._check_write(repo, account)
        self.state.delete(repo)
        return Response()

    def _list(self, kind: str, request: Request, account: Json | None) -> Response:
        author, search = request.query_params.get("author"), request.query_params.get("search", "")
        found = []
        for repo in list(self.state.repos.values()):
            with contextlib.suppress(RefusedError):
                self.state.find(repo.kind, repo.id, account)
                if (
                    repo.kind == kind
                    and author in (None, repo.namespace)
                    and search.lower() in repo.id.lower()
                ):
                    found.append(self._facts(repo, repo.refs["main"]))
        return JSONResponse(found)

    def _facts(self, repo: Repo, commit: str) -> Json:
        state = self.state
        try:
            card = state.card(repo, commit)
        except yaml.YAMLError:
            card = None
        tags = [str(tag) for tag in (card or {}).get("tags") or []]
        licence = (card or {}).get("license")
        facts: Json = {
            "_id": hashlib.md5(repo.id.encode()).hexdigest()[:24], "id": repo.id, "author": repo.namespace,
            "sha": commit, "lastModified": state.commit(repo, commit)["date"], "createdAt": repo.created,
            "private": repo.private, "gated": "auto" if repo.gated is True else repo.gated, "disabled": False,
            "downloads": 0, "likes": 0, "tags": tags + ([f"license:{licence}"] if licence else []),
            "cardData": json.loads(json.dumps(card, default=str)) if card else None,
        }  # fmt: skip
        if repo.kind == "model":
            facts |= {"modelId": repo.id, "safetensors": state.tensors(repo, commit)}
            facts["library_name"] = (card or {}).get("library_name")
            facts["pipeline_tag"] = (card or {}).get("pipeline_tag")
            entry = state.tree(repo, commit).get("config.json")
            config = {}
            with contextlib.suppress(ValueError, RecursionError):
                config = json.loads(state.content(entry).read_bytes()) if entry else {}
            if isinstance(config, dict):
                facts["config"] = {k: config[k] for k in ("architectures", "model_type") if k in config}
        return {key: value for key, value in facts.items() if value is not None}

    def _info(self, repo: Repo, revision: str, request: Request) -> Response:
        commit = self.state.revision(repo, revision)
        facts = self._facts(repo, commit)
        siblings = []
        for path, entry in self.state.tree(repo, commit).items():
            sibling: Json = {"rfilename": path}
            if "blobs" in request.query_params:
                sibling |= {"size": entry["size"], "blobId": entry["oid"]}
                if "lfs" in entry:
                    sibling["lfs"] = {
                        k: entry[e]
                        for k, e in (("sha256", "lfs"), ("size", "size"), ("pointerSize", "pointer"))
                    }
            siblings.append(sibling)
        facts["siblings"] = siblings
        expand = [*request.query_params.getlist("expand"), *request.query_params.getlist("expand[]")]
        if expand:
            facts = {key: value for key, value in facts.items() if key in ("_id", "id", *expand)}
        return JSONResponse(facts, headers={"X-Repo-Commit": commit})

    def _refs(self, repo: Repo) -> Response:
        branches, pulls = [], []
        for name, commit in repo.refs.items():
            pull = name.startswith("refs/pr/")
            ref = {"name": name, "ref": name if pull else f"refs/heads/{name}", "targetCommit": commit}
            (pulls if pull else branches).append(ref)
        return JSONResponse({"branches": branches, "converts": [], "tags": [], "pullRequests": pulls})

    # Reading

    def _entry(self, path: str, entry: Json) -> Json:
        found: Json = {"type": "file", "path": path, "oid": entry["oid"], "size": entry["size"]}
        if "lfs" in entry:
            found["lfs"] = {"oid": entry["lfs"], "size": entry["size"], "pointerSize": entry["pointer"]}
        return found

    def _entries(self, repo: Repo, commit: str, folder: str, recursive: bool) -> list[Json]:
        """Files and folders under a folder, in the order of their paths."""
        prefix, found, folders = f"{folder}/" if folder else "", [], set()
        for path, entry in self.state.tree(repo, commit).items():
            if not path.startswith(prefix):
                continue
            above = path[len(prefix) :].split("/")[:-1]
            for depth in range(1, len(above) + 1):
                each = prefix + "/".join(above[:depth])
                if each not in folders and (recursive or depth == 1):
                    folders.add(each)
                    oid = hashlib.sha1(f"{commit}/{each}".encode()).hexdigest()
                    found.append({"type": "directory", "path": each, "oid": oid, "size": 0})
            if recursive or not above:
                found.append(self._entry(path, entry))
        if folder and not found:
            raise RefusedError(404, f"{folder} does not exist on {commit}", "EntryNotFound")
        return found

    def _tree(self, repo: Repo, revision: str, folder: str, request: Request) -> Response:
        query = request.query_params
        commit = self.state.revision(repo, revision)
        found = self._entries(
            repo, commit, folder.strip("/"), query.get("recursive", "").lower() in ("true", "1")
        )
        if query.get("expand", "").lower() in ("true", "1"):
            last = {"id": commit, **{k: self.state.commit(repo, commit)[k] for k in ("title", "date")}}
            found = [{**each, "lastCommit": last} for each in found]
        start = int(query.get("cursor", 0))
        headers = {"X-Repo-Commit": commit}
        if start + self._page < len(found):
            headers["Link"] = f'<{request.url.include_query_params(cursor=start + self._page)}>; rel="next"'
        return JSONResponse(found[start : start + self._page], headers=headers)

    async def _paths_info(self, repo: Repo, revision: str, request: Request) -> Response:
        commit = self.state.revision(repo, revision)
        if request.headers.get("content-type", "").startswith("application/json"):
            told = await request.json()
            asked, expand = told["paths"], told.get("expand")
        else:
            form = await request.form()
            asked, expand = [str(path) for path in form.getlist("paths")], form.get("expand")
        tree = self.state.tree(repo, commit)
        found = []
        for path in asked:
            if path in tree:
                entry = self._entry(path, tree[path])
                if str(expand).lower() in ("true", "1"):
                    last = self.state.last_change(repo, commit, path)
                    entry["lastCommit"] = {key: last[key] for key in ("id", "title", "date")}
                found.append(entry)
            elif any(each.startswith(f"{path}/") for each in tree):
                found.append({"type": "directory", "path": path, "oid": "0" * 40, "size": 0})
        return JSONResponse(found)

    def _commits(self, repo: Repo, revision: str, request: Request) -> Response:
        history = list(self.state.history(repo, self.state.revision(repo, revision)))
        page, size = int(request.query_params.get("p", 0)), 50
        found = [
            {
                "id": commit["id"],
                "title": commit["title"],
                "message": commit["message"],
                "date": commit["date"],
                "authors": [{"user": commit["author"], "avatar": ""}],
            }
            for commit in history[page * size : (page + 1) * size]
        ]
        headers = {"X-Total-Count": str(len(history))}
        if (page + 1) * size < len(history):
            headers["Link"] = f'<{request.url.include_query_params(p=page + 1)}>; rel="next"'
        return JSONResponse(found, headers=headers)

    def _resolve(
        self, repo: Repo, revision: str, path: str, request: Request, account: Json | None
    ) -> Response:
        self.state.check_content(repo, account)
        commit = self.state.revision(repo, revision)
        headers = {"X-Repo-Commit": commit, "Accept-Ranges": "bytes"}
        entry = self.state.tree(repo, commit).get(path)
        if entry is None:
            response = RefusedError(404, "Entry not found", "EntryNotFound").response()
            response.headers["X-Repo-Commit"] = commit
            return response
        etag = entry.get("lfs", entry["oid"])
        headers["ETag"] = f'"{etag}"'
        if "lfs" in entry:
            headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(entry["size"])}
        content = self.state.content(entry)
        media = "application/octet-stream" if "lfs" in entry else "text/plain; charset=utf-8"
        wanted = request.headers.get("range")
        if not wanted or request.method == "HEAD" or entry["size"] == 0:
            if request.method == "GET" and entry["size"] < 1 << 20:
                return Response(content.read_bytes(), headers=headers, media_type=media)
            return FileResponse(content, headers=headers, media_type=media)
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", wanted)
        if match is None or not any(match.groups()):
            raise RefusedError(416, "Range not satisfiable")
        size = entry["size"]
        if match[1]:
            start, end = int(match[1]), min(int(match[2] or size), size - 1)
        else:
            start, end = max(0, size - int(match[2])), size - 1
        if start > end:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        with content.open("rb") as stream:
            stream.seek(start)
            body = stream.read(end - start + 1)
        headers["Content-Range"] = f"bytes {start}-{end}/{size}"
        return Response(body, 206, headers, media_type=media)

    # Writing

    def _preupload(
        self, repo: Repo, revision: str, body: Json, request: Request, account: Json | None
    ) -> Response:
        if not request.query_params.get("create_pr"):
            self._check_push(repo, revision, account)
        tree = self.state.tree(repo, self.state.revision(repo, revision))
        files = []
        for file in body["files"]:
            path = file["path"]
            mode = "lfs" if self.state.is_lfs(path, file["size"]) else "regular"
            answer = {"path": path, "uploadMode": mode, "shouldIgnore": False}
            if path in tree:
                answer["oid"] = tree[path].get("lfs", tree[path]["oid"])
            files.append(answer)
        return JSONResponse({"files": files})

    def _check_push(self, repo: Repo, revision: str, account: Json | None) -> None:
        if account and revision.startswith("refs/pr/"):
            number = int(revision.removeprefix("refs/pr/"))
            if repo.discussions[number - 1]["author"]["name"] == account["name"]:
                return
        self._check_write(repo, account)

    def _commit(
        self, repo: Repo, revision: str, body: bytes, request: Request, account: Json | None
    ) -> Response:
        lines = [json.loads(line) for line in body.splitlines() if line.strip()]
        header = next(line["value"] for line in lines if line["key"] == "header")
        pull = bool(request.query_params.get("create_pr"))
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        if not pull:
            self._check_push(repo, revision, account)
        state = self.state
        with state.lock:
            head = state.revision(repo, revision)
            parent = header.get("parentCommit")
            if parent and pull:
                head = state.revision(repo, parent)
            elif parent and not head.startswith(parent):
                raise RefusedError(412, STALE)
            tree = dict(state.tree(repo, head))
            for line in lines:
                self._apply(tree, line["key"], line["value"])
            ref, url = revision, None
            if pull:
                number = self._open(
                    repo, header["summary"], header.get("description", ""), account["name"], True
                )
                ref, url = (
                    f"refs/pr/{number}",
                    f"{self.url}/{prefix_of(repo.kind)}{repo.id}/discussions/{number}",
                )
            commit = state.land(
                repo, ref, [head], tree, header["summary"], header.get("description", ""), account["name"]
            )
        answer = {
            "success": True,
            "commitOid": commit,
            "commitUrl": f"{self.url}/{prefix_of(repo.kind)}{repo.id}/commit/{commit}",
        }
        if url:
            answer["pullRequestUrl"] = url
        return JSONResponse(answer)

    def _apply(self, tree: dict[str, Json], key: str, value: Json) -> None:
        if key == "header":
            return
        path = value["path"]
        if key == "deletedFile":
            if path not in tree:
                raise RefusedError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
            del tree[path]
        elif key == "deletedFolder":
            gone = [each for each in tree if each.startswith(path.rstrip("/") + "/")]
            if not gone:
                raise RefusedError(404, f"A folder with this name doesn't exist: {path}", "EntryNotFound")
            for each in gone:
                del tree[each]
        elif key in ("file", "lfsFile"):
            if path.startswith("/") or any(part in ("", ".", "..", ".git") for part in path.split("/")):
                raise RefusedError(400, f"Invalid path: {path}")
            above = path.split("/")[:-1]
            if any("/".join(above[:depth]) in tree for depth in range(1, len(above) + 1)):
                raise RefusedError(400, f"A part of {path} is a file")
            if key == "file":
                assert value["encoding"] == "base64"
                tree[path] = self.state.blob(base64.b64decode(value["content"]))
            else:
                tree[path] = self.state.lfs(value["oid"])
        else:
            raise RefusedError(400, f"Unknown operation {key}")

    async def _lfs(self, repo: Repo, rest: list[str], request: Request, account: Json | None) -> Response:
        match [request.method, *rest]:
            case ["POST", "objects", "batch"]:
                if account is None:
                    raise RefusedError(401, "Invalid username or password.")
                base = f"{self.url}/{prefix_of(repo.kind)}{repo.id}.git/info/lfs"
                objects = []
                for each in (await request.json())["objects"]:
                    answer = {"oid": each["oid"], "size": each["size"]}
                    if not self.state.lfs_path(each["oid"]).exists():
                        answer["actions"] = {
                            "upload": {"href": f"{base}/upload/{each['oid']}"},
                            "verify": {"href": f"{base}/verify"},
                        }
                    objects.append(answer)
                return JSONResponse({"transfer": "basic", "objects": objects})
            case ["PUT", "upload", sha256]:
                digest, target = hashlib.sha256(), self.state.lfs_path(sha256)
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{sha256}.{secrets.token_hex(4)}")
                with temporary.open("wb") as stream:
                    async for chunk in request.stream():
                        digest.update(chunk)
                        stream.write(chunk)
                if digest.hexdigest() != sha256:
                    temporary.unlink()
                    raise RefusedError(400, "The content is not what was announced")
                temporary.replace(target)
                return Response()
            case ["POST", "verify"]:
                asked = await request.json()
                path = self.state.lfs_path(asked["oid"])
                if not path.exists() or path.stat().st_size != asked["size"]:
                    raise RefusedError(404, "No such object")
                return Response()
        raise RefusedError(404, "Not found")

    # Discussions and pull requests

    def _open(self, repo: Repo, title: str, text: str, author: str, pull: bool) -> int:
        with self.state.lock:
            number = len(repo.discussions) + 1
            repo.discussions.append(
                {
                    "num": number, "title": title, "author": {"name": author}, "createdAt": now(),
                    "status": "open", "isPullRequest": pull, "events": [],
                    "repo": {"name": repo.id, "type": repo.kind},
                }
            )  # fmt: skip
            self._say(
                repo, number, "comment", author, {"edited": False, "hidden": False, "latest": {"raw": text}}
            )
            return number

    def _say(self, repo: Repo, number: int, kind: str, author: str, data: Json) -> Json:
        event = {
            "id": secrets.token_hex(12),
            "type": kind,
            "createdAt": now(),
            "author": {"name": author},
            "data": data,
        }
        repo.discussions[number - 1]["events"].append(event)
        self.state.save(repo)
        return event

    async def _discussions(
        self, repo: Repo, rest: list[str], request: Request, account: Json | None
    ) -> Response:
        state = self.state
        if request.method == "GET" and not rest:
            found = [{k: v for k, v in each.items() if k != "events"} for each in reversed(repo.discussions)]
            return JSONResponse({"discussions": found, "count": len(found), "start": 0})
        if rest and not (rest[0].isdigit() and 0 < int(rest[0]) <= len(repo.discussions)):
            raise RefusedError(404, "Discussion not found")
        number = int(rest[0]) if rest else 0
        if request.method == "GET":
            changes = {"base": "refs/heads/main", "mergeCommitId": None}
            return JSONResponse(
                {**repo.discussions[number - 1], "changes": changes, "filesWithConflicts": []}
            )
        if account is None:
            raise RefusedError(401, "Invalid username or password.")
        body = json.loads(await request.body() or b"{}")
        with state.lock:
            match rest[1:]:
                case [] if not rest:
                    pull = body["pullRequest"]
                    number = self._open(repo, body["title"], body["description"], account["name"], pull)
                    if pull:
                        repo.refs[f"refs/pr/{number}"] = repo.refs["main"]
                        repo.discussions[number - 1]["status"] = "draft"
                        state.save(repo)
                    return JSONResponse({"num": number})
                case ["comment"]:
                    data = {"edited": False, "hidden": False, "latest": {"raw": body["comment"]}}
                    return JSONResponse(
                        {"newMessage": self._say(repo, number, "comment", account["name"], data)}
                    )
                case ["merge"]:
                    self._check_write(repo, account)
                    commit = state.commit(repo, repo.refs[f"refs/pr/{number}"])
                    title = f"{commit['title']} (#{number})"
                    state.land(
                        repo,
                        "main",
                        [repo.refs["main"]],
                        self._merged(repo, commit),
                        title,
                        "",
                        account["name"],
                    )
                    repo.discussions[number - 1]["status"] = "merged"
                    self._say(repo, number, "status-change", account["name"], {"status": "merged"})
                    return JSONResponse({})
        raise RefusedError(404, "Not found")

    def _merged(self, repo: Repo, commit: Json) -> dict[str, Json]:
        """Main with what one commit of a pull request changed."""
        before = self.state.tree(repo, commit["parents"][0])
        tree = dict(self.state.tree(repo, repo.refs["main"]))
        tree |= {path: entry for path, entry in commit["tree"].items() if before.get(path) != entry}
        return {path: entry for path, entry in tree.items() if path in commit["tree"] or path not in before}


def client_settings(hub_url: str, home: Path, token: str | None = None) -> dict[str, str]:
    """The environment in which a process talks to this Hub and to no other."""
    settings = {
        "HF_ENDPOINT": hub_url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    return settings | ({"HF_TOKEN": token} if token else {})


def use_in_process(hub_url: str, home: Path, setattr_: Callable[[Any, str, Any], None]) -> None:
    """The same for this process, where huggingface_hub has read its settings at import long ago.

    `setattr_` is monkeypatch.setattr, which takes all of it back.
    """
    from huggingface_hub import constants

    setattr_(constants, "ENDPOINT", hub_url)
    setattr_(constants, "HUGGINGFACE_CO_URL_TEMPLATE", hub_url + "/{repo_id}/resolve/{revision}/{filename}")
    setattr_(constants, "HF_HUB_OFFLINE", False)
    setattr_(constants, "HF_HUB_DISABLE_XET", True)
    setattr_(constants, "HF_HOME", str(home))
    setattr_(constants, "HF_HUB_CACHE", str(home / "hub"))
    setattr_(constants, "HF_ASSETS_CACHE", str(home / "assets"))
    setattr_(constants, "HF_TOKEN_PATH", str(home / "token"))


def main() -> None:
    parser = argparse.ArgumentParser(description="A small Hugging Face Hub for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--account", action="append", default=[], help="NAME:TOKEN[:ORG,ORG]")
    arguments = parser.parse_args()
    hub = HubServer(arguments.state, port=arguments.port)
    for account in arguments.account:
        name, token, *orgs = account.split(":")
        hub.add_account(name, token, orgs[0].split(",") if orgs else ())
    print(hub.url, flush=True)
    hub.run()


if __name__ == "__main__":
    sys.exit(main())
