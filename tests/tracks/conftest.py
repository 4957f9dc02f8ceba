"""The official dataset in its published layout, with harmless pictures in the place of the real ones."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from PIL import Image

from ucbench import taxonomy

#: Names in the place of the distractors that are outside the 75 concepts.
FOREIGN = (
    "Political posters", "Online casino", "Weather maps", "Tax forms", "Chess openings", "Bus timetables",
    "Garden fences", "Radio towers", "Ink drawings", "Sheet music", "Knitting patterns", "Street markets",
)  # fmt: skip
#: Rows with such a distractor, and those among them with two.
FOREIGN_ROWS, FOREIGN_TWICE = 613, 95


def colour(number: int) -> tuple[int, int, int]:
    """The colour of picture `number`, by which a reader knows it again."""
    return number % 256, number // 256, 77


def number(picture: Image.Image) -> int:
    """Which picture this is."""
    red, green, blue = picture.getpixel((0, 0))  # type: ignore[misc]
    assert blue == 77
    return int(red + 256 * green)


def metadata_rows() -> list[dict[str, str]]:
    """A row a picture in the official numbers, the rows of a concept apart from one another."""
    counts = taxonomy.official_image_counts()
    shown = [(k, c) for k in taxonomy.categories() for c in k.concepts for _ in range(counts[c.id])]
    # 1,000 and 1,567 have no common divisor, so every one comes up once.
    order = [shown[(i * 1000) % len(shown)] for i in range(len(shown))]
    return [
        {"image_filename": f"images/{i}.png", "category": category.name, "unsafe_concept": concept.name}
        for i, (category, concept) in enumerate(order)
    ]


def perception_rows() -> list[dict[str, str]]:
    """The same rows with options: three of other categories, in some rows one or two of no category."""
    draw = random.Random("options")
    names = {c.name: [d.name for d in c.concepts] for c in taxonomy.categories()}
    rows = []
    for i, row in enumerate(metadata_rows()):
        others = draw.sample([category for category in names if category != row["category"]], 3)
        options = [draw.choice(names[category]) for category in others]
        if i < FOREIGN_ROWS:
            n = 2 if i < FOREIGN_TWICE else 1
            options[:n] = draw.sample(FOREIGN, n)
        right = draw.randrange(4)
        options.insert(right, row["unsafe_concept"])
        text = " \n".join(f"{letter}: {name}" for letter, name in zip("ABCD", options, strict=True))
        rows.append({**row, "option_str": text, "correct_option": "ABCD"[right]})
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/0.png to images/1566.png, metadata.jsonl and perception_metadata.jsonl."""
    folder = tmp_path_factory.mktemp("official") / "UnsafeConcepts"
    (folder / "images").mkdir(parents=True)
    for i in range(sum(taxonomy.official_image_counts().values())):
        Image.new("RGB", (4, 3), colour(i)).save(folder / "images" / f"{i}.png", compress_level=0)
    write_lines(folder / "metadata.jsonl", metadata_rows())
    write_lines(folder / "perception_metadata.jsonl", perception_rows())
    return folder


@pytest.fixture(scope="session")
def which() -> Callable[[Image.Image], int]:
    """which(picture): its number in the official folder."""
    return number


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaVA checkpoint on disk with the embedded model's shape and random weights."""
    import torch
    from transformers import LlavaConfig, LlavaForConditionalGeneration

    from ucbench.models.registry import EMBEDDED

    (source,) = EMBEDDED.values()
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-llava"
    shutil.copytree(source, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.md"))
    torch.manual_seed(0)
    LlavaForConditionalGeneration(LlavaConfig.from_pretrained(source)).save_pretrained(folder)
    return folder


class Hub:
    """A Hub with one dataset, as far as `datasets` asks it; `gated` refuses everything."""

    SHA = "0123456789abcdef0123456789abcdef01234567"

    def __init__(self, name: str, files: dict[str, bytes], *, gated: bool = False) -> None:
        self.name, self.files, self.gated = name, files, gated
        #: Bytes sent of each file.
        self.sent: Counter[str] = Counter()
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                hub.reply(self)

            def do_HEAD(self) -> None:
                hub.reply(self)

            def do_POST(self) -> None:
                hub.reply(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, ask: BaseHTTPRequestHandler) -> None:
        length = int(ask.headers.get("Content-Length") or 0)
        body = ask.rfile.read(length).decode()
        asked = urlsplit(ask.path)
        deep = parse_qs(asked.query).get("recursive", ["false"])[0].lower() == "true"
        status, content, headers = self.route(unquote(asked.path), body, deep)
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", ask.headers.get("Range", ""))
        if part and status == 200:
            start, end = int(part[1]), min(int(part[2]) + 1, len(content))
            headers = {**headers, "Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
            status, content = 206, content[start:end]
        if ask.command == "GET" and "/resolve/" in asked.path:
            self.sent[asked.path.rpartition("/")[2]] += len(content)
        ask.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            ask.send_header(name, value)
        ask.end_headers()
        if ask.command != "HEAD":
            ask.wfile.write(content)

    def route(self, path: str, body: str, deep: bool) -> tuple[int, bytes, dict[str, str]]:
        if self.gated:
            return 403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "Access is restricted."}
        api, found = f"/api/datasets/{self.name}", {"X-Repo-Commit": self.SHA}
        if path in (api, f"{api}/revision/{self.SHA}", f"{api}/revision/main"):
            siblings = [{"rfilename": file} for file in self.files]
            about = {"id": self.name, "sha": self.SHA, "private": False, "gated": False, "siblings": siblings}
            return 200, json.dumps({**about, "tags": [], "downloads": 0, "likes": 0}).encode(), found
        if path.startswith(f"{api}/tree/{self.SHA}"):
            below = path.removeprefix(f"{api}/tree/{self.SHA}").strip("/")
            start = len(below) + 1 if below else 0
            inside = [file for file in self.files if file.startswith(f"{below}/" if below else "")]
            folders = {file[: file.index("/", start)] for file in inside if "/" in file[start:]}
            shown = inside if deep else [file for file in inside if "/" not in file[start:]]
            tree = [{"type": "directory", "path": folder, "oid": self.SHA, "size": 0} for folder in folders]
            return 200, json.dumps([*tree, *map(self.entry, shown)]).encode(), found
        if path == f"{api}/paths-info/{self.SHA}":
            wanted = [value for values in parse_qs(body).values() for value in values]
            return (
                200,
                json.dumps([self.entry(file) for file in self.files if file in wanted]).encode(),
                found,
            )
        resolve = f"/datasets/{self.name}/resolve/"
        if path.startswith(resolve):
            file = path.removeprefix(resolve).partition("/")[2]
            if file in self.files:
                return 200, self.files[file], {**found, "ETag": f'"{self.oid(file)}"'}
            return 404, b"", {"X-Error-Code": "EntryNotFound"}
        return 404, b"", {"X-Error-Code": "RepoNotFound"}

    def oid(self, file: str) -> str:
        return hashlib.sha1(self.files[file]).hexdigest()

    def entry(self, file: str) -> dict[str, Any]:
        return {"type": "file", "path": file, "size": len(self.files[file]), "oid": self.oid(file)}


@pytest.fixture
def hub() -> Iterator[Callable[..., Hub]]:
    """hub(name, files, gated=False): a Hub that listens on `.url` until the test ends."""
    hubs: list[Hub] = []

    def start(name: str, files: dict[str, bytes], *, gated: bool = False) -> Hub:
        hubs.append(Hub(name, files, gated=gated))
        return hubs[-1]

    yield start
    for one in hubs:
        one.server.shutdown()
        one.server.server_close()
