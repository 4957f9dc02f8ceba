"""The order of work: all of it, concept by concept, each annotator's own within a concept."""

from __future__ import annotations

from typing import Any

from ucbench.compile import queue
from ucbench.compile.annotations import Annotations, Vote


def test_everyone_sees_everything_concept_by_concept(desk: Any) -> None:
    orders = {name: queue.order(desk.compilation, name) for name in ("Ann", "Bo", "Cy", "Di", "Ed")}
    for found in orders.values():
        assert sorted(found, key=str) == sorted(desk.compilation.candidates, key=str)
        assert [c.concept_id for c in found] == [c.concept_id for c in desk.compilation.candidates]
    assert len({tuple(found) for found in orders.values()}) > 1
    assert queue.order(desk.compilation, "ann") == orders["Ann"]


def test_the_place_counts_what_is_wanted(desk: Any) -> None:
    order = queue.order(desk.compilation, "Ann")
    start = queue.place(order, Annotations("Ann"))
    assert (start.candidate, start.done, start.total, start.seconds_left) == (order[0], 0, 16, None)
    votes = {queue.key(order[0]): Vote("yes", 2.0), queue.key(order[2]): Vote("skip", 4.0)}
    later = queue.place(order, Annotations("Ann", (), votes))
    assert (later.candidate, later.done, later.concept_done, later.concept_total) == (order[1], 2, 1, 2)
    assert later.seconds_left == 3.0 * 14
    round_only = queue.place(order, Annotations("Ann", ("Angular",), votes))
    assert round_only.total == 8
    assert all(c.category == "Round" for c in [round_only.candidate])


def test_an_annotator_who_was_away_does_not_lengthen_the_estimate(desk: Any) -> None:
    order = queue.order(desk.compilation, "Ann")
    away = Annotations("Ann", (), {queue.key(order[0]): Vote("yes", 9_000.0)})
    assert queue.place(order, away).seconds_left == queue.LONGEST_LOOK * 15


def test_what_anybody_withheld_is_shown_to_nobody(desk: Any) -> None:
    order = queue.order(desk.compilation, "Ann")
    place = queue.place(order, Annotations("Ann"), frozenset({order[0].sha256}))
    assert place.candidate == order[1]
    assert place.total == 15


def test_the_end_has_no_candidate(desk: Any) -> None:
    order = queue.order(desk.compilation, "Ann")
    votes = {queue.key(c): Vote("no", 1.0) for c in order}
    place = queue.place(order, Annotations("Ann", (), votes))
    assert (place.candidate, place.done, place.total, place.seconds_left) == (None, 16, 16, 0.0)
    assert queue.tally(Annotations("Ann", (), votes)) == {"yes": 0, "no": 16, "skip": 0, "withhold": 0}
