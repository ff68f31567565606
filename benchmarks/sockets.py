"""The rows of the group ``sockets``: echo servers under load, side by side.

The server has a core to itself, the load generator has another. What is measured
and how holds for the group ``tls`` too, whose rows are in ``tls.py``.
"""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import callgrind, loops, runner
from .native import program
from .registry import BUSY, HALF, MOST, Measure
from .runner import Figures, WorkerError
from .serving import Server, pinned

CPU = Measure("cpu", "µs of the server's CPU a message", less_is_better=True)
RATE = Measure("rate", "messages a second", thousands=True)
MEMORY = Measure("memory", "bytes of the server a connection", less_is_better=True)

#: A module run by this Python. -P: the current folder is on the path only if it is
#: on ours.
PYTHON = (sys.executable, "-P", "-m")

KIB = 1024
IDLE = 5000


@dataclass(frozen=True)
class SocketRow:
    """One row: a kind of server, of ``servers.SERVERS``, and how it is used."""

    name: str
    kind: str
    description: str
    mode: str = "echo"  #: of load.c, or of tlsload.c
    connections: int = 50
    size: int = KIB  #: bytes in a message
    fewer: int = 1  #: so many times fewer messages are enough for valgrind
    group: str = "sockets"

    @property
    def key(self) -> str:
        return f"{self.group}/{self.name}"

    @property
    def measures(self) -> tuple[Measure, ...]:
        return (MEMORY,) if self.mode == "idle" else (CPU, RATE, BUSY, HALF, MOST)

    def subjects(self, names: Sequence[str]) -> list[str]:
        """Return those of the loops that this row is measured on."""
        return list(names)

    def server(self, loop: str, folder: str) -> list[str]:
        """Return the command line of a server. It may use that folder."""
        path = str(Path(folder, "socket"))
        if loop == loops.LIMIT:
            return [str(program("echo")), self._family(), path]
        return [*PYTHON, "benchmarks.servers", loop, self.kind, path]

    def load(self, address: str) -> list[str]:
        """Return the start of the load generator's command line."""
        return [str(program("load")), self._family(), address]

    def _family(self) -> str:
        return self.kind if self.kind in ("unix", "udp") else "tcp"


ROWS = (
    SocketRow(
        "Protocol, 1 connection",
        "protocol",
        "1 KiB sent to a Protocol and back, over one connection.",
        connections=1,
    ),
    SocketRow(
        "Protocol, 50",
        "protocol",
        "1 KiB sent to a Protocol and back, over one of 50 connections.",
    ),
    SocketRow(
        "Protocol, 500",
        "protocol",
        "1 KiB sent to a Protocol and back, over one of 500 connections.",
        connections=500,
    ),
    SocketRow(
        "Protocol, 1 of 100 KiB",
        "protocol",
        "100 KiB sent to a Protocol and back, over one connection.",
        connections=1,
        size=100 * KIB,
    ),
    SocketRow(
        "BufferedProtocol, 50",
        "buffered",
        "1 KiB sent to a BufferedProtocol and back, over one of 50 connections.",
    ),
    SocketRow(
        "streams, 50",
        "streams",
        "1 KiB sent to a StreamReader and back, over one of 50 connections.",
    ),
    SocketRow(
        "sock_*, 50",
        "sock",
        "1 KiB by sock_recv() and sock_sendall(), over one of 50 connections.",
    ),
    SocketRow(
        "UNIX, 50",
        "unix",
        "1 KiB sent to a Protocol and back, over one of 50 UNIX connections.",
    ),
    SocketRow(
        "UDP, 50", "udp", "A datagram of 1 KiB sent and back, from one of 50 sockets."
    ),
    SocketRow(
        "connections",
        "protocol",
        "A connection accepted, 1 KiB sent and back, and closed by the client.",
        mode="connect",
    ),
    SocketRow(
        "idle, Protocol",
        "protocol",
        "One of 5,000 connections of a Protocol that wait.",
        mode="idle",
        connections=IDLE,
    ),
    SocketRow(
        "idle, streams",
        "streams",
        "One of 5,000 connections of a stream handler that wait.",
        mode="idle",
        connections=IDLE,
    ),
)


@contextmanager
def _server(
    row: SocketRow, loop: str, *, under: Sequence[str] = (), cpu: int | None = None
) -> Iterator[Server]:
    """Serve what the row is about; *under* is the start of the command line."""
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder:
        command = [*under, *row.server(loop, folder)]
        variables = callgrind.VARIABLES if under else {}
        with Server(command, cpu, **variables) as server:
            yield server


def measure(
    row: SocketRow,
    loop: str,
    *,
    seconds: float,
    cpu: int | None = None,
    load_cpu: int | None = None,
) -> Figures:
    """Return the figures of a row, measured once. Raises WorkerError."""
    if loop == loops.LIMIT and row.mode == "idle":
        raise runner.Unsupported
    with _server(row, loop, cpu=cpu) as server:
        outcome = _load(
            row,
            server,
            seconds=seconds,
            wait=how_to_wait(cpu, load_cpu),
            cpu=load_cpu,
            timeout=runner.PATIENCE + 2 * seconds,
        )
    return _figures(row, outcome)


def instructions(row: SocketRow, loop: str) -> float:
    """Return the instructions that a server takes for one message, by valgrind.

    The kernel's are not counted. Raises WorkerError.
    """
    if row.mode == "idle":
        raise runner.Unsupported

    def run(count: int) -> tuple[float, int]:
        with _server(row, loop, under=callgrind.COMMAND) as server:
            outcome = _load(
                row, server, count=count, wait="sleep", timeout=callgrind.TIMEOUT
            )
            _check(outcome)
            return outcome["messages"], callgrind.collected(server.stop())

    return callgrind.per_operation(run, row.fewer)


def _load(
    row: SocketRow,
    server: Server,
    *,
    wait: str,
    timeout: float,
    seconds: float = 0,
    count: int = 0,
    cpu: int | None = None,
) -> Figures:
    """Have the load generator do its work for some seconds, or a count."""
    use = [row.mode, row.connections, row.size, seconds, warm_up(seconds), count, wait]
    command = [*row.load(server.address()), *use]
    try:
        with pinned(cpu):
            done = runner.run_process(
                [*map(str, command), str(server.process.pid)], timeout
            )
    except WorkerError:
        # If the server is gone, that is what is to be told.
        server.check()
        raise
    return runner.parse_outcome(done.stdout)


def how_to_wait(cpu: int | None, load_cpu: int | None) -> str:
    """Return how the load generator, on *load_cpu*, is to wait: see load.c."""
    return "sleep" if cpu is None or load_cpu in (None, cpu) else "spin"


def warm_up(seconds: float) -> float:
    """Return the seconds of load before a measurement of *seconds*."""
    return max(0.1, seconds / 4)


def _check(outcome: Figures) -> None:
    if outcome["errors"]:
        raise WorkerError(f"{outcome['errors']} messages lost or wrong")
    if not outcome.get("messages", True):
        raise WorkerError("no message came back")


def _figures(row: SocketRow, outcome: Figures) -> Figures:
    _check(outcome)
    if row.mode == "idle":
        return {MEMORY.name: outcome["bytes"] / outcome["connections"]}
    return {
        CPU.name: outcome["cpu"] / outcome["messages"] * 1e6,
        RATE.name: outcome["messages"] / outcome["seconds"],
        BUSY.name: outcome["cpu"] / outcome["seconds"],
        HALF.name: outcome["p50"],
        MOST.name: outcome["p99"],
    }
