"""Instructions per operation, counted by valgrind: exact on a noisy machine."""

import re
import shutil

from .runner import WorkerError, parse_outcome, run_process, worker_command

# Two counts: what start-up and warm-up cost is in both, and drops out.
COUNTS = (2_000, 12_000)
TIMEOUT = 600.0


def available() -> bool:
    """Tell whether valgrind is installed."""
    return shutil.which("valgrind") is not None


def instructions(key: str, loop: str) -> float:
    """Return the instructions that one operation takes. Raises WorkerError."""
    (few, base), (many, total) = (_run(key, loop, count) for count in COUNTS)
    return (total - base) / (many - few)


def _run(key: str, loop: str, count: int) -> tuple[float, int]:
    """Return the operations made and the instructions of the whole process."""
    command = [
        "valgrind",
        "--tool=callgrind",
        "--callgrind-out-file=/dev/null",
        *worker_command(key, loop, f"--count={count}"),
    ]
    # With a seed of its own, each process would start up differently.
    done = run_process(command, TIMEOUT, PYTHONHASHSEED="0")
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if collected is None:
        raise WorkerError("valgrind printed no count of instructions")
    return parse_outcome(done.stdout)["operations"], int(collected[1])
