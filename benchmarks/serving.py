"""Server processes: a core for them, where they listen, and how they end."""

import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO

from . import runner
from .runner import WorkerError

#: Seconds in which a server that crashed or gave up should be gone, once the
#: load generator has noticed.
GRACE = 2.0


def other_core(cpu: int) -> int:
    """Return a core for the load generator: another one, if there is one."""
    return min(os.sched_getaffinity(0) - {cpu}, default=cpu)


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """Start the processes of this block on one core."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A server in a process of its own, until the ``with`` block ends.

    *variables* are added to its environment.
    """

    def __init__(
        self, command: Sequence[str], cpu: int | None = None, **variables: str
    ) -> None:
        self._errors: IO[str] = tempfile.TemporaryFile("w+")
        with pinned(cpu):
            self.process = subprocess.Popen(
                command,
                env={**runner.environment(), **variables},
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        with self._errors, self.process:
            pass

    def address(self) -> str:
        """Wait until it is ready; return its port or path. Raises WorkerError."""
        out = self.process.stdout
        assert out is not None
        if not select.select([out], [], [], runner.PATIENCE)[0]:
            raise WorkerError(f"not ready after {runner.PATIENCE:g} s")
        line = out.readline().strip()
        if not line:
            self.check()
            raise WorkerError("the server does not say where it is")
        return line

    def check(self) -> None:
        """Raise WorkerError if the server has ended, or is about to."""
        try:
            status = self.process.wait(GRACE)
        except subprocess.TimeoutExpired:
            return
        if status == os.EX_UNAVAILABLE:
            raise runner.Unsupported
        raise WorkerError(runner.failure(status, self._said()))

    def stop(self) -> str:
        """Have it end by SIGTERM; return what it wrote to its standard error.

        Raises WorkerError if it ended otherwise.
        """
        self.process.terminate()
        try:
            status = self.process.wait(runner.PATIENCE)
        except subprocess.TimeoutExpired:
            raise WorkerError(f"goes on {runner.PATIENCE:g} s after SIGTERM") from None
        if status != -signal.SIGTERM:
            raise WorkerError(runner.failure(status, self._said()))
        return self._said()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()
