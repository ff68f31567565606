"""Instructions per operation, counted by valgrind: exact on a noisy machine."""

import re
import shutil
from collections.abc import Callable

from .registry import Row
from .runner import WorkerError, parse_outcome, run_process, worker_command

COMMAND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")

#: With a seed of its own, each process would start up differently.
VARIABLES = {"PYTHONHASHSEED": "0"}

# Two counts: what start-up and warm-up cost is in both, and drops out.
COUNTS = (2_000, 12_000)
TIMEOUT = 600.0

#: Makes about so many operations in a new process; returns how many it made and
#: the instructions of the whole process.
Run = Callable[[int], tuple[float, int]]


def available() -> bool:
    """Tell whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def per_operation(run: Run, fewer: int = 1) -> float:
    """Return the instructions that one operation takes. Raises WorkerError.

    Of those that take long, so many times *fewer* are made.
    """
    (few, base), (many, total) = (run(count // fewer) for count in COUNTS)
    return (total - base) / (many - few)


def instructions(row: Row, loop: str) -> float:
    """Return what one operation of a workload takes. Raises WorkerError."""

    def run(count: int) -> tuple[float, int]:
        command = [*COMMAND, *worker_command(row.key, loop, f"--count={count}")]
        done = run_process(command, TIMEOUT, **VARIABLES)
        return parse_outcome(done.stdout)["operations"], collected(done.stderr)

    return per_operation(run)


def collected(stderr: str) -> int:
    """Return the instructions that valgrind says it counted. Raises WorkerError."""
    found = re.search(r"Collected : (\d+)", stderr)
    if found is None:
        raise WorkerError("valgrind printed no count of instructions")
    return int(found[1])
