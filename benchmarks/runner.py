"""Runs workers: a process for each measurement, loops and rounds interleaved."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .registry import RATE, Measure, Row

#: Seconds that a worker may take beyond those of its measurement.
PATIENCE = 60.0


class WorkerError(Exception):
    """A worker that crashed, hung or raised; the text says which."""


class Unsupported(WorkerError):
    """The loop lacks what the row is about: there is nothing to measure."""

    def __init__(self) -> None:
        super().__init__("not supported")


Figures = dict[str, float]  # by name of the measure


@dataclass
class Cell:
    """What was measured of one row on one loop."""

    rounds: list[Figures] = field(default_factory=list)
    error: str | None = None
    unsupported: bool = False

    def figures(self, measure: Measure) -> list[float]:
        """Return one figure for each round."""
        return [figures[measure.name] for figures in self.rounds]


Results = dict[tuple[str, str], Cell]  # by row's key and loop's name
Worker = Callable[[str, str], Figures]


def schedule(
    rounds: int, rows: Sequence[Row], loops: Sequence[str]
) -> Iterator[tuple[Row, str]]:
    """Yield what to measure, in order.

    All loops have their turn on a row before the next row, and all rows before
    the next round, so that a slow minute of the machine spoils no one loop.
    """
    for _ in range(rounds):
        for row in rows:
            for loop in row.subjects(loops):
                yield row, loop


def run_all(
    rounds: int, rows: Sequence[Row], loops: Sequence[str], worker: Worker
) -> Results:
    """Measure all rows on all loops, *rounds* times.

    ``worker(key, loop)`` returns the row's figures. A pair that failed is not
    tried again.
    """
    results = {(row.key, loop): Cell() for row, loop in schedule(1, rows, loops)}
    for row, loop in schedule(rounds, rows, loops):
        cell = results[row.key, loop]
        if cell.error is None:
            try:
                cell.rounds.append(worker(row.key, loop))
            except WorkerError as exc:
                cell.error = str(exc)
                cell.unsupported = isinstance(exc, Unsupported)
    return results


def run_process(
    command: Sequence[str], timeout: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a worker's command to its end. Raises WorkerError if it fails.

    *variables* are added to the environment.
    """
    env = {**environment(), **variables}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer after {timeout:g} s") from None
    if done.returncode:
        raise WorkerError(failure(done.returncode, done.stderr))
    return done


def environment() -> dict[str, str]:
    """Return variables for a worker that has to find the modules found here."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def failure(status: int, stderr: str) -> str:
    """Return in a line why a process ended with that status."""
    if status < 0:
        return f"killed by {_signal_name(-status)}"
    lines = stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {status}"


def worker_command(key: str, loop: str, *options: str) -> list[str]:
    """Return the command line that makes one measurement."""
    # -P: the current folder is on the path only if it is on ours.
    return [sys.executable, "-P", "-m", "benchmarks.worker", loop, key, *options]


def measure(row: Row, loop: str, *, seconds: float, cpu: int | None) -> Figures:
    """Return a workload's figures, measured once in a process of its own."""
    options = [f"--seconds={seconds}"]
    if cpu is not None:
        options.append(f"--cpu={cpu}")
    command = worker_command(row.key, loop, *options)
    outcome = parse_outcome(run_process(command, PATIENCE + 10 * seconds).stdout)
    return {RATE.name: outcome["operations"] / outcome["seconds"]}


def parse_outcome(stdout: str) -> dict[str, float]:
    """Read what a worker printed. Raises WorkerError."""
    try:
        return json.loads(stdout)
    except ValueError:
        raise WorkerError(f"unreadable answer {stdout[:80]!r}") from None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
