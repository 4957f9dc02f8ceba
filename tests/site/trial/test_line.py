"""The line before the local model: its order, its limit, whoever leaves it."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ucbench.site.trial.line import FullError, Line, Ticket


@given(st.integers(0, 3), st.lists(st.one_of(st.none(), st.integers(0, 9)), max_size=40))
def test_places_follow_the_order_of_coming(most: int, steps: list[int | None]) -> None:
    """None joins, a number leaves from that place on (beyond the end: somebody who left before)."""
    line, standing, gone = Line(most), list[Ticket](), list[Ticket]()
    for step in steps:
        if step is None and len(standing) == most + 1:
            with pytest.raises(FullError, match=f"{most} visitors wait"):
                line.join()
        elif step is None:
            standing.append(line.join())
        elif step < len(standing):
            gone.append(standing.pop(step))
            gone[-1].leave()
        elif gone:
            gone[-1].leave()
        assert [ticket.place for ticket in standing] == list(range(len(standing)))
        assert all(ticket.place is None for ticket in gone)
        assert [ticket.wait(0) for ticket in standing] == [n == 0 for n in range(len(standing))]
        assert len(line) == len(standing)


def test_only_one_is_served_at_a_time_and_all_are() -> None:
    line, inside, most, served = Line(20), 0, 0, []

    def visit(number: int, ticket: Ticket) -> None:
        nonlocal inside, most
        assert ticket.wait(30)
        inside += 1
        most = max(most, inside)
        served.append(number)
        inside -= 1
        ticket.leave()

    tickets = [line.join() for _ in range(20)]
    threads = [threading.Thread(target=visit, args=pair) for pair in enumerate(tickets)]
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert served == list(range(20))


def test_who_leaves_stops_waiting() -> None:
    line = Line()
    line.join()
    ticket = line.join()
    threading.Timer(0.05, ticket.leave).start()
    assert not ticket.wait(60)
    assert ticket.place is None


def test_some_work_may_always_join() -> None:
    line = Line(0)
    line.join()
    assert line.join(always=True).place == 1
