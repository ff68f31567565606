"""What can be measured: the rows of the tables, by group and name."""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from . import loops


@dataclass(frozen=True)
class Measure:
    """What the figures of a table are."""

    name: str
    unit: str
    less_is_better: bool = False
    thousands: bool = False  #: shown by the thousand
    in_tables: bool = True  #: or in the JSON file alone
    #: What a ratio says: with OURS how often another loop's figure goes into ours,
    #: else how often that of the loop named here goes into each.
    against: str = loops.OURS


RATE = Measure("rate", "operations a second", thousands=True)

# Those of any server under load, in the JSON file.
BUSY = Measure("busy", "of its core in use by the server", in_tables=False)
HALF = Measure("p50", "µs to the answer, median", True, in_tables=False)
MOST = Measure("p99", "µs to the answer, 99 of 100", True, in_tables=False)


class Row(Protocol):
    """One row of a table, whatever its kind."""

    @property
    def group(self) -> str: ...

    @property
    def name(self) -> str: ...

    @property
    def key(self) -> str: ...

    @property
    def description(self) -> str: ...

    @property
    def measures(self) -> tuple[Measure, ...]: ...

    def subjects(self, names: Sequence[str]) -> list[str]: ...


class Stopwatch:
    """Sums the seconds spent inside its ``with`` blocks, but for pauses."""

    def __init__(self) -> None:
        self.elapsed = 0.0
        self._started = 0.0

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self) -> None:
        self.elapsed += time.perf_counter() - self._started

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()


Run = Callable[[AbstractEventLoop, int, Stopwatch], int]


@dataclass(frozen=True)
class Workload:
    """A row that is measured in one process: work done by the loop alone.

    ``run(loop, count, stopwatch)`` makes at least one and about *count*
    operations, keeps the time that counts inside ``with stopwatch:`` and
    returns how many operations it made. It may be called again on the same
    loop, so it leaves nothing behind.
    """

    group: str
    name: str
    run: Run

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def description(self) -> str:
        """What one operation is: the first line of the function's docstring."""
        return (self.run.__doc__ or "").partition("\n")[0]

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (RATE,)

    def subjects(self, names: Sequence[str]) -> list[str]:
        """Return those of the loops that this row is measured on."""
        return [name for name in names if name not in loops.SOCKETS_ONLY]


_ROWS: dict[str, Row] = {}


def register(row: Row) -> None:
    """Make a row known. Raises ValueError if its key is taken."""
    if row.key in _ROWS:
        raise ValueError(f"row {row.key!r} is registered twice")
    _ROWS[row.key] = row


def workload(group: str, name: str) -> Callable[[Run], Run]:
    """Return a decorator that registers a function as a workload."""

    def decorate(run: Run) -> Run:
        register(Workload(group, name, run))
        return run

    return decorate


def get(key: str) -> Row:
    """Return the row of a ``group/name`` key. Raises KeyError."""
    return _ROWS[key]


def groups() -> list[str]:
    """Return the names of all groups, in the order of registration."""
    return list(dict.fromkeys(row.group for row in _ROWS.values()))


def select(groups: Collection[str] = (), patterns: Iterable[str] = ()) -> list[Row]:
    """Return the rows of some groups whose name holds one of *patterns*.

    A whole key selects that row alone. Case does not matter in a pattern. An empty
    argument selects all.
    """
    wanted = [pattern.lower() for pattern in patterns]

    def matches(row: Row) -> bool:
        name, key = row.name.lower(), row.key.lower()
        return not wanted or any(text in name or text == key for text in wanted)

    return [
        row
        for row in _ROWS.values()
        if (not groups or row.group in groups) and matches(row)
    ]
