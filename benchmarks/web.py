"""The rows of the group ``http``: web servers under the load of wrk, side by side.

The server has a core to itself, wrk has another.
"""

import http.client
import importlib.util
import math
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import loops, runner
from .registry import BUSY, HALF, MOST, Measure
from .runner import Figures, WorkerError
from .serving import Server, pinned

RATE = Measure("rate", "requests a second", thousands=True, against="asyncio")
CPU = Measure("cpu", "µs of the server's CPU a request", True, against="asyncio")

CONNECTIONS = 50
SHORT = len("Hello, world!")

# Requests made one by one before wrk makes its own.
WARM_UP = 300


@dataclass(frozen=True)
class WebRow:
    """One row: a kind of server, of ``webservers.SERVERS``, and its answers."""

    name: str
    kind: str
    description: str
    needs: tuple[str, ...]  #: packages
    size: int = SHORT  #: bytes in an answer's body
    group: str = "http"

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (RATE, CPU, BUSY, HALF, MOST)

    def subjects(self, names: Sequence[str]) -> list[str]:
        """Return those of the loops that this row is measured on."""
        return [name for name in names if name != loops.LIMIT]


ROWS = (
    WebRow(
        "uvicorn, httptools",
        "httptools",
        "A request to uvicorn with httptools, answered with 13 bytes.",
        ("uvicorn", "httptools"),
    ),
    WebRow(
        "uvicorn, httptools, 10 KiB",
        "httptools",
        "A request to uvicorn with httptools, answered with 10 KiB.",
        ("uvicorn", "httptools"),
        size=10 * 1024,
    ),
    WebRow(
        "uvicorn, h11",
        "h11",
        "A request to uvicorn with h11, answered with 13 bytes.",
        ("uvicorn", "h11"),
    ),
    WebRow(
        "aiohttp",
        "aiohttp",
        "A request to aiohttp's server, answered with 13 bytes.",
        ("aiohttp",),
    ),
)


def missing(row: WebRow) -> list[str]:
    """Return what is not installed of the things that a row needs."""
    lacks = [name for name in row.needs if importlib.util.find_spec(name) is None]
    return lacks if shutil.which("wrk") else ["wrk", *lacks]


def measure(
    row: WebRow,
    loop: str,
    *,
    seconds: float,
    cpu: int | None = None,
    load_cpu: int | None = None,
) -> Figures:
    """Return the figures of a row, measured once. Raises WorkerError.

    wrk counts in whole seconds: it takes the next higher number of them.
    """
    words = [loop, row.kind, str(row.size)]
    # -P: the current folder is on the path only if it is on ours.
    command = [sys.executable, "-P", "-m", "benchmarks.webservers", *words]
    with Server(command, cpu) as server:
        port = int(server.address())
        try:
            with pinned(load_cpu):
                _warm_up(port, row.size)
                used, done = _wrk(port, server.process.pid, math.ceil(seconds))
        except WorkerError:
            # If the server is gone, that is what is to be told.
            server.check()
            raise
    return figures(done, used)


def _warm_up(port: int, size: int) -> None:
    """Make some requests and look at the answers. Raises WorkerError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, runner.PATIENCE)
    try:
        for _ in range(WARM_UP):
            connection.request("GET", "/")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200 or len(body) != size:
                raise WorkerError(f"status {answer.status}, {len(body)} bytes")
    except (OSError, http.client.HTTPException) as exc:
        raise WorkerError(f"no answer: {exc!r}") from None
    finally:
        connection.close()


def _wrk(port: int, pid: int, seconds: int) -> tuple[float, str]:
    """Run wrk; return the server's CPU time meanwhile, and what wrk printed."""
    command = [
        "wrk",
        "--threads=1",
        f"--connections={CONNECTIONS}",
        f"--duration={seconds}s",
        f"--script={Path(__file__).with_name('wrk.lua')}",
        f"http://127.0.0.1:{port}/",
    ]
    before = _cpu_time(pid)
    done = runner.run_process(command, runner.PATIENCE + 2 * seconds)
    return _cpu_time(pid) - before, done.stdout


def _cpu_time(pid: int) -> float:
    """Return the seconds of CPU, user and system, that a process has used."""
    # What clock_getcpuclockid() returns, which Python does not have.
    clock = (~pid << 3) | 2
    try:
        return time.clock_gettime(clock)
    except OSError as exc:
        raise WorkerError(f"no CPU clock of process {pid}: {exc}") from None


def figures(stdout: str, used: float) -> Figures:
    """Return the figures out of what wrk printed. Raises WorkerError.

    *used* is the CPU time of the server in seconds.
    """
    lines = stdout.splitlines()
    outcome = runner.parse_outcome(lines[-1] if lines else "")
    if outcome["errors"]:
        raise WorkerError(f"{outcome['errors']} requests failed")
    if not outcome["requests"]:
        raise WorkerError("no request was answered")
    return {
        RATE.name: outcome["requests"] / outcome["seconds"],
        CPU.name: used / outcome["requests"] * 1e6,
        BUSY.name: used / outcome["seconds"],
        HALF.name: outcome["p50"],
        MOST.name: outcome["p99"],
    }
