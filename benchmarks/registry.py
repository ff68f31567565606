"""What can be measured: the workloads, by group and name."""

import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass


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
    """One row of a table.

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


_WORKLOADS: dict[str, Workload] = {}


def workload(group: str, name: str) -> Callable[[Run], Run]:
    """Return a decorator that registers a function as a workload."""

    def register(run: Run) -> Run:
        row = Workload(group, name, run)
        if row.key in _WORKLOADS:
            raise ValueError(f"workload {row.key!r} is registered twice")
        _WORKLOADS[row.key] = row
        return run

    return register


def get(key: str) -> Workload:
    """Return the workload of a ``group/name`` key. Raises KeyError."""
    return _WORKLOADS[key]


def groups() -> list[str]:
    """Return the names of all groups, in the order of registration."""
    return list(dict.fromkeys(row.group for row in _WORKLOADS.values()))


def select(
    groups: Collection[str] = (), patterns: Iterable[str] = ()
) -> list[Workload]:
    """Return the workloads of some groups whose name holds one of *patterns*.

    Case does not matter in a pattern. An empty argument selects all.
    """
    wanted = [pattern.lower() for pattern in patterns]
    return [
        row
        for row in _WORKLOADS.values()
        if (not groups or row.group in groups)
        and (not wanted or any(text in row.name.lower() for text in wanted))
    ]
