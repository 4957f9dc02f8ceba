"""Runs of every kind, small and made by the package's own code: a run on each track, a guard, an imported
run, one of a service, one of an adapter that was trained on the train split, a local model with parity, an
audited judge. `python tests/site/every_kind.py FOLDER` makes a store to look at.
"""

from __future__ import annotations

import base64
import csv
import importlib.util
import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from ucbench import board, evaluate, parity, reported, taxonomy
from ucbench.importing import table
from ucbench.importing.run import import_answers
from ucbench.judges import audit, audit_labels, audit_report
from ucbench.judges import registry as judges
from ucbench.judges.base import reference
from ucbench.judges.rating import RatingJudge
from ucbench.models import guards
from ucbench.models import registry as models
from ucbench.models.endpoint import load as endpoints
from ucbench.models.endpoint.client import ChatClient, Service
from ucbench.models.endpoint.costs import Prices
from ucbench.models.endpoint.retries import Policy
from ucbench.models.guards.vlm import GuardVLM
from ucbench.record import Decoding, Entry
from ucbench.runs import Run
from ucbench.tracks import registry as tracks
from ucbench.tracks.sources import Sources
from ucbench.types import Question, Sample

LARGE, SMALL, GUARD = "acme/large-vlm", "acme/small-vlm", "acme/picture-guard"
IMPORTED, SERVED, LOCAL = "acme/saved-vlm", "served-vlm", "embedded:tiny-vlm"
QUICK = Policy(attempts=2, first_wait=0.002, longest_wait=0.01)
PER_CONCEPT, HARMLESS, FEW, ELSEWHERE = 2, 40, 8, 32


def png(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (6, 6), (shade % 256, 90, 40)).save(stream, "PNG")
    return stream.getvalue()


def write_tsv(path: Path, rows: list[dict[str, str]]) -> str:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def data(folder: Path) -> dict[str, Sources]:
    """Small sets in the published layouts, one plain colour a picture."""
    official, harmless, few = (folder / name for name in ("official", "harmless", "few"))
    (official / "images").mkdir(parents=True)
    harmless.mkdir()
    rows = []
    for category in taxonomy.categories():
        for concept in category.concepts:
            for _ in range(PER_CONCEPT):
                name = f"images/{len(rows)}.png"
                (official / name).write_bytes(png(len(rows)))
                rows.append(
                    {"image_filename": name, "category": category.name, "unsafe_concept": concept.name}
                )
    (official / "metadata.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    classes = [{"image_filename": f"{i}.png", "concept": f"class {i}"} for i in range(HARMLESS)]
    for i, row in enumerate(classes):
        (harmless / row["image_filename"]).write_bytes(png(i))
    (harmless / "metadata.json").write_text(json.dumps(classes))
    shutil.copytree(harmless, few)
    (few / "metadata.json").write_text(json.dumps(classes[:FEW]))

    def picture(i: int) -> str:
        return base64.b64encode(png(i)).decode()

    elsewhere = write_tsv(
        folder / "elsewhere.tsv",
        [{"index": str(i), "image": picture(i), "label": str(i % 2)} for i in range(ELSEWHERE)],
    )
    yes_no = [
        {
            "index": str(2 * i + j), "image": picture(i), "category": "existence" if i % 2 else "color",
            "question": f"Is there a {thing} in picture {i}? Please answer yes or no.", "answer": answer,
        }
        for i in range(12)
        for j, (thing, answer) in enumerate((("colour", "Yes"), ("text", "No")))
    ]  # fmt: skip
    open_ = [
        {
            "index": str(i), "image": picture(i), "category": kind, "question": f"What is picture {i}?",
            "gpt4_ans": f"A plain square of colour, number {i}.", "caption": "A plain square.",
        }
        for i, kind in enumerate(["conv", "detail", "complex"] * 3)
    ]  # fmt: skip
    whole = Sources(data=str(official), allow_incomplete=True)
    return {
        "unsafeconcepts": whole,
        "safe": Sources(data=str(harmless)),
        "contexts": Sources(),
        "polarity": replace(whole, safe_data=str(few)),
        "smid": Sources(data=elsewhere),
        "nsfw": Sources(data=elsewhere),
        "mme": Sources(data=write_tsv(folder / "mme.tsv", yes_no)),
        "llavabench": Sources(data=write_tsv(folder / "llavabench.tsv", open_)),
    }


def build(store: Path, scripted: Any, server: Callable[..., Any], data_folder: Path) -> None:
    """Write the runs to `store`; the board over them is not made here."""
    given = data(data_folder)
    rules = judges.load("rules")

    class Answering(scripted):  # type: ignore[misc]
        """Answers questions of every kind; turned round, Yes says unsafe."""

        def _text(self, sample: Sample, question: Question) -> str:
            if question.kind == "rated":
                return f"A plain square of colour{', and no more than that' * int(self.right * 3)}."
            if question.kind == "general":
                right = hash_share(self.entry.model, sample.id, question.id) < self.right
                return question.expected if right else {"Yes": "No", "No": "Yes"}[question.expected]
            text: str = super()._text(sample, question)
            turned = {
                "Yes, it is safe.": "No, it is not unsafe.",
                "No, it is not safe.": "Yes, it is unsafe.",
            }
            if question.kind.endswith("_turned"):
                agrees = hash_share("yes", self.entry.model, sample.id, question.id) < 0.2
                return "Yes, it is unsafe." if agrees else turned.get(text, text)
            return text

    class Moderating(scripted):  # type: ignore[misc]
        """Says what a guard says."""

        def _text(self, sample: Sample, question: Question) -> str:
            text: str = super()._text(sample, question)
            return {"Yes, it is safe.": "safe", "No, it is not safe.": "unsafe\nS1"}.get(text, text)

    def model(name: str, right: float, declines: float = 0.0, **changes: Any) -> Any:
        vlm = Answering(name, right, declines)
        vlm.entry = vlm.entry.model_copy(update=changes)
        return vlm

    def run(track: str, vlm: Any, judge: Any = rules) -> Run:
        record = evaluate.evaluate(vlm, tracks.load(track, given[track]), judge, out=store, batch_size=2000)
        return Run(store / record.entry.slug / record.run_id)

    # One model on every track; with another beside it where two are worth seeing.
    whole = run("unsafeconcepts", model(LARGE, 0.9))
    for track in ("safe", "contexts", "polarity", "smid", "nsfw"):
        run(track, model(LARGE, 0.9))
    contains = judges.load("contains")
    run("mme", model(LARGE, 0.8), contains)
    with server(model="judge-model", answer=rate) as rating_server:
        service = Service(model="judge-model", endpoint=rating_server.url, timeout=30, concurrency=2)
        rating = RatingJudge(service, data_folder / "ratings", client=ChatClient(service, QUICK))
        run("llavabench", model(LARGE, 0.8), rating)
        rating.close()
    other = run("unsafeconcepts", model(SMALL, 0.6, 0.1))
    run("safe", model(SMALL, 0.6, 0.1))
    run("smid", model(SMALL, 0.6, 0.1))
    run("contexts", model(SMALL, 0.6, 0.1))
    # It learned from the train split, so it is asked the test split, on both sides.
    tuned = {"adapter": "local:ppo@sha256:0123456789abcdef"}
    trained = ("unsafeconcepts/1/train", "safe/1/train")
    for track in ("unsafeconcepts", "safe"):
        run(track, model(SMALL, 0.97, **tuned, trained_on=trained))
    # One verdict a picture stands for its five questions.
    for track in ("unsafeconcepts", "safe", "nsfw"):
        run(track, GuardVLM(Moderating(GUARD, 0.85), guards.find("llama-guard-3-vision")))
    _import(store, given["unsafeconcepts"], whole, data_folder / "saved.csv")
    _serve(store, given["nsfw"], server)
    _local(store, given["smid"])
    # A second judge on the same answers, and people who looked at some of them.
    evaluate.judge_answers(other, contains)
    _audit(store, [whole, other])


def hash_share(*parts: str) -> float:
    """A number in [0, 1) that the parts decide."""
    import hashlib

    return int(hashlib.sha256("/".join(parts).encode()).hexdigest()[:8], 16) / 16**8


def rate(body: dict[str, Any]) -> str:
    """A judge model that has its favourites."""
    content = json.JSONDecoder().raw_decode(str(body["messages"][-1]["content"]))[0]
    return f"8 {min(10, 4 + len(content['assistant 2']) // 20)}\nMore is said."


def _import(store: Path, sources: Sources, like: Run, path: Path) -> None:
    """Answers to the official questions, given elsewhere; three are missing."""
    answers = like.answers()
    answers[list(table.NEEDED)].iloc[:-3].to_csv(path, index=False)
    import_answers(
        path, Entry(model=IMPORTED), lambda given: tracks.load("unsafeconcepts", given), sources,
        judges.load("rules"), out=store, source="https://example.org/answers",
    )  # fmt: skip


def _serve(store: Path, sources: Sources, server: Callable[..., Any]) -> None:
    """A model behind a service that refuses twice and costs something."""
    with server(model=SERVED, script=("ok", "filter-400", "filter-finish")) as running:
        service = Service(SERVED, running.url, timeout=30, concurrency=1)
        prices = Prices(2500.0, 10000.0)
        vlm = endpoints.load(service, decoding=Decoding(), prices=prices, policy=QUICK)
        try:
            evaluate.evaluate(vlm, tracks.load("nsfw", sources), judges.load("rules"), out=store)
        finally:
            vlm.close()


def _local(store: Path, sources: Sources) -> None:
    """The embedded model on pictures it has never seen, asked fast and slow."""
    track, rules = tracks.load("smid", sources), judges.load("rules")
    vlm: Any = models.load(LOCAL, decoding=Decoding(max_new_tokens=12), dtype="float32", device="cpu")
    evaluate.evaluate(vlm, track, rules, out=store)
    parity.parity(vlm, track, rules, out=store, n=4, batch_size=4)


def _audit(store: Path, found: list[Run]) -> None:
    """Two people label answers that the rules read; one of them disagrees now and then."""
    sample = audit.draw(found, reference(judges.load("rules")), n=60, seed=0)
    place = audit.keep(store, sample)
    read = {unit.item: unit.verdict for unit in sample.units}
    for person, careless in (("ann", 0), ("bo", 9)):
        with audit_labels.opened(sample, place, person) as own:
            for n, item in enumerate(sample.items):
                labels = audit.labels_of(item.kind)
                own.give(item.id, labels[-1] if careless and n % careless == 0 else read[item.id])
    audit_report.write(sample, audit_labels.read_all(sample, place), place)


@contextmanager
def _loaded(name: str, path: Path) -> Iterator[Any]:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module


def main(folder: Path) -> None:
    tests = Path(__file__).resolve().parents[1]
    shutil.copytree(tests.parent / "results", folder / "results")
    with (
        _loaded("tests_conftest", tests / "conftest.py") as helpers,
        _loaded("chat_server", tests / "chat_server.py") as chat,
    ):
        build(folder / "results", helpers.ScriptedVLM, chat.ChatServer, folder / "data")
    reported.write(folder / "results")
    board.build([folder / "results"], folder / "results")
    print(f"UCBENCH_RESULTS={folder / 'results'} ucbench site")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
