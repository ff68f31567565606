"""Runs workers: a process for each measurement, loops and rounds interleaved."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .registry import Workload

#: Seconds that a worker may take beyond those of its measurement.
PATIENCE = 60.0


class WorkerError(Exception):
    """A worker that crashed, hung or raised; the text says which."""


@dataclass
class Cell:
    """What was measured of one workload on one loop."""

    rates: list[float] = field(default_factory=list)  #: operations a second
    error: str | None = None


Results = dict[tuple[str, str], Cell]  # by workload's key and loop's name
Worker = Callable[[str, str], float]


def schedule(
    rounds: int, rows: Sequence[Workload], loops: Sequence[str]
) -> Iterator[tuple[Workload, str]]:
    """Yield what to measure, in order.

    All loops have their turn on a row before the next row, and all rows before
    the next round, so that a slow minute of the machine spoils no one loop.
    """
    for _ in range(rounds):
        for row in rows:
            for loop in loops:
                yield row, loop


def run_all(
    rounds: int, rows: Sequence[Workload], loops: Sequence[str], worker: Worker
) -> Results:
    """Measure all rows on all loops, *rounds* times.

    ``worker(key, loop)`` returns operations a second. A pair that failed is
    not tried again.
    """
    results = {(row.key, loop): Cell() for row in rows for loop in loops}
    for row, loop in schedule(rounds, rows, loops):
        cell = results[row.key, loop]
        if cell.error is None:
            try:
                cell.rates.append(worker(row.key, loop))
            except WorkerError as exc:
                cell.error = str(exc)
    return results


def run_process(
    command: Sequence[str], timeout: float, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a worker's command to its end. Raises WorkerError if it fails.

    *variables* are added to the environment.
    """
    # The worker has to find the modules that this process finds.
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables}
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=timeout
        )
    except subprocess.TimeoutExpired:
        raise WorkerError(f"no answer after {timeout:g} s") from None
    if done.returncode < 0:
        raise WorkerError(f"killed by {_signal_name(-done.returncode)}")
    if done.returncode > 0:
        lines = done.stderr.strip().splitlines()
        raise WorkerError(lines[-1] if lines else f"exit status {done.returncode}")
    return done


def worker_command(key: str, loop: str, *options: str) -> list[str]:
    """Return the command line that makes one measurement."""
    # -P: the current folder is on the path only if it is on ours.
    return [sys.executable, "-P", "-m", "benchmarks.worker", loop, key, *options]


def measure(key: str, loop: str, *, seconds: float, cpu: int | None) -> float:
    """Return operations a second, measured once in a process of its own."""
    options = [f"--seconds={seconds}"]
    if cpu is not None:
        options.append(f"--cpu={cpu}")
    command = worker_command(key, loop, *options)
    outcome = parse_outcome(run_process(command, PATIENCE + 10 * seconds).stdout)
    return outcome["operations"] / outcome["seconds"]


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
