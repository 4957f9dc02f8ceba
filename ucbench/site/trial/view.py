"""The answers as HTML, as they come and when they are there; pure functions, every outside text escaped."""

from __future__ import annotations

from collections.abc import Sequence

from ucbench.format import concept_title, escape
from ucbench.site.figures import tables
from ucbench.site.trial import ask as asking
from ucbench.site.trial.ask import Ask, Told
from ucbench.site.trial.jobs import Job, Part
from ucbench.site.trial.pictures import Subject, thumbnail
from ucbench.types import OPTION_LETTERS, Concept, Kind

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
_IMAGE, _WORDS = '<i class="mark image"></i>As an image', '<i class="mark text"></i>In words'


def status(job: Job) -> str:
    """What happens at the moment, in a sentence that screen readers read out; empty when all is done."""
    said = _status(job)
    return f'<p class="status" role="status" aria-live="polite">{escape(said)}</p>' if said else ""


def _status(job: Job) -> str:
    came = sum(len(part.told) for part in job.parts)
    n = sum(len(part.answers) for part in job.parts)
    if job.state == "left" or (job.over and job.state != "done"):
        return f"Stopped after {came} of {n} answers." if came else "You left the line; nothing was asked."
    if job.state == "done":
        return "" if came == n else f"{came} of {n} questions were answered."
    place = job.place
    if place:
        before = "One visitor is" if place == 1 else f"{place} visitors are"
        where = f"the {_ORDINALS[place]}" if place < len(_ORDINALS) else f"number {place + 1}"
        return f"You are {where} in line. {before} before you."
    if job.state in ("waiting", "loading"):
        return "The model is being loaded; that takes a moment the first time."
    if job.state == "judging":
        return f"{came} of {n} answers. The judge reads them."
    return f"{came} of {n} answers."


def results(job: Job) -> str:
    """All answers of a job so far, with what they come to."""
    subject, parts = job.wish.subject, job.parts
    out = ['<div class="trial">']
    out += [
        f'<p class="problem">{escape(_named(part, len(parts)))}{escape(part.problem)}</p>'
        for part in parts
        if part.problem
    ]
    first, *others = sums(subject, parts, job.over) or [""]
    out += [f'<p class="sum">{escape(first)}</p>'] if first else []
    out += [f'<p class="sum more">{escape(line)}</p>' for line in others]
    out.append(f'<p class="quiet">Asked about: {escape(concept_title(subject.name))}</p>')
    out.append(_beside(parts) if len(parts) > 1 else _alone(parts[0]))
    out.append("</div>")
    return "".join(out)


def sums(subject: Subject, parts: Sequence[Part], over: bool) -> list[str]:
    """What it comes to, a sentence each, the difference of two models first; none before all is over."""
    if not over:
        return []
    found = []
    if len(parts) == 2:
        first, second = parts
        found.append(asking.difference(first.told, second.told, (first.model.name, second.model.name)))
    for part in parts:
        if said := asking.meaning(subject, part.told):
            found.append(_named(part, len(parts)) + said)
    return [line for line in found if line]


def _named(part: Part, n: int) -> str:
    return f"{part.model.name}: " if n > 1 else ""


def _alone(part: Part) -> str:
    """One model: image and words side by side where both were asked, everything else a line each."""
    kinds: list[Kind] = [ask.kind for ask in part.asks]
    image = [n for n, kind in enumerate(kinds) if kind == "image_alignment"]
    words = [n for n, kind in enumerate(kinds) if kind == "text_alignment"]
    paired = list(zip(image, words, strict=True)) if image and words else []
    rest = [n for n in range(len(kinds)) if not paired or n not in (*image, *words)]
    out = []
    if rest:
        out.append('<div class="qa"><div class="top">Question</div><div class="top">Answer</div>')
        out.append('<div class="top">Verdict</div>')
        for n in rest:
            answer = part.answers[n]
            out.append(
                f'<div class="asked">{_question(part.asks[n], answer)}</div>'
                f"<div>{_said(part, n)}</div>"
                f'<div class="read">{_verdict(answer)}</div>'
            )
        out.append("</div>")
    if paired:
        rows = []
        for n, other in paired:
            reads = f'<span class="quiet also">{escape(part.asks[other].prompt)}</span>'
            rows.append(
                (escape(part.asks[n].prompt), [_cell(part, n, _IMAGE), _cell(part, other, _WORDS, reads)])
            )
        out.append(_pairs(("Question", _IMAGE, _WORDS), rows))
    return "".join(out)


def _beside(parts: Sequence[Part]) -> str:
    """Two models, the same questions: a line each."""
    first = parts[0]
    rows = []
    for n, ask in enumerate(first.asks):
        mark = {"image_alignment": "image", "text_alignment": "text"}.get(ask.kind)
        dot = f'<i class="mark {mark}"></i>' if mark else ""
        cells = [_cell(part, n, escape(part.model.name)) for part in parts]
        rows.append((dot + _question(ask, first.answers[n]), cells))
    return _pairs(("Question", *(escape(part.model.name) for part in parts)), rows)


def _pairs(heads: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> str:
    top = "".join(f'<div class="top">{head}</div>' for head in heads)
    body = "".join(f'<div class="asked">{question}</div>{"".join(cells)}' for question, cells in rows)
    return f'<div class="qa pairs">{top}{body}</div>'


def _cell(part: Part, n: int, name: str, aside: str = "") -> str:
    return (
        f'<div class="said"><span class="moment">{name}</span>{aside}{_said(part, n)}'
        f"{_verdict(part.answers[n])}</div>"
    )


def _question(ask: Ask, answer: Told | None) -> str:
    """The question with its options; the right one stands out once it is answered."""
    if not ask.options:
        return escape(ask.prompt)
    right = ask.expected if answer is not None else ""
    options = " ".join(
        f"<span{' class=right' if letter == right else ''}>{letter} {escape(option)}</span>"
        for letter, option in zip(OPTION_LETTERS, ask.options, strict=False)
    )
    return f'{escape(ask.prompt.split(chr(10), 1)[0].strip())}<br><span class="options">{options}</span>'


def _said(part: Part, n: int) -> str:
    answer = part.answers[n]
    if answer is None:
        now = part.growing and part.answers[:n].count(None) == 0
        return f"“{escape(part.growing)}" if now else '<span class="quiet" aria-hidden="true">…</span>'
    if answer.problem:
        return f'<span class="quiet">{escape(answer.problem)}</span>'
    return f"“{escape(answer.text)}”" if answer.text else '<span class="quiet">no text</span>'


def _verdict(answer: Told | None) -> str:
    if answer is None or answer.problem:
        return ""
    why = f'<span class="why">{escape(answer.why)}</span>' if answer.why else ""
    return f'<div class="verdict-of">{tables.verdict(answer.asked)}{why}</div>'


def gallery(concepts: Sequence[Concept], chosen: str) -> str:
    """Emblems to pick from: a button each, with its name."""
    tiles = "".join(
        f'<button type="button" class="tile" data-choose="{escape(concept.id)}" '
        f'aria-pressed="{"true" if concept.id == chosen else "false"}">'
        f'<img src="{thumbnail(concept.id)}" width="56" height="56" alt="">'
        f"<span>{escape(concept_title(concept.name))}</span></button>"
        for concept in concepts
    )
    return f'<div class="gallery" role="group" aria-label="Emblems">{tiles}</div>'
