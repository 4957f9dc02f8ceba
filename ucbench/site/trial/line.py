"""One behind the other: the local model answers one visitor at a time, and so many may wait."""

from __future__ import annotations

import threading

from ucbench.errors import UcbenchError

#: So many visitors may wait behind the one that is being answered.
MOST = 8


class FullError(UcbenchError):
    """Nobody more may wait."""


class Ticket:
    """A place in a line, until it is given back."""

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def place(self) -> int | None:
        """How many are before this one; 0 when it is its turn, None when it left."""
        return self._line.place(self)

    def wait(self, seconds: float) -> bool:
        """Whether it is this one's turn, within so many seconds."""
        return self._line.wait(self, seconds)

    def leave(self) -> None:
        """Give the place back; the next one's turn comes. Leaving twice does nothing."""
        self._line.leave(self)


class Line:
    """First come, first served."""

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._tickets: list[Ticket] = []
        self._moved = threading.Condition()

    def __len__(self) -> int:
        """How many stand in it, the one whose turn it is among them."""
        with self._moved:
            return len(self._tickets)

    def join(self, *, always: bool = False) -> Ticket:
        """Stand at the end. Raises `FullError` when `most` wait already, unless `always`."""
        with self._moved:
            if not always and len(self._tickets) > self.most:
                raise FullError(
                    f"{self.most} visitors wait for the model on this machine; no more can. Try again in a "
                    "minute or two."
                )
            ticket = Ticket(self)
            self._tickets.append(ticket)
            return ticket

    def place(self, ticket: Ticket) -> int | None:
        """How many are before it; None when it is not in the line."""
        with self._moved:
            return self._tickets.index(ticket) if ticket in self._tickets else None

    def wait(self, ticket: Ticket, seconds: float) -> bool:
        """Whether it is at the head, within so many seconds."""
        with self._moved:
            self._moved.wait_for(
                lambda: self._tickets[:1] == [ticket] or ticket not in self._tickets, seconds
            )
            return self._tickets[:1] == [ticket]

    def leave(self, ticket: Ticket) -> None:
        """Take it out, wherever it stands."""
        with self._moved:
            if ticket in self._tickets:
                self._tickets.remove(ticket)
                self._moved.notify_all()
