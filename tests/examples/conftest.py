"""Programs run by plain Python and by ``python -m evloop``, in processes."""

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import pytest

# An upper bound in seconds for what a program does until it ends or prints.
DEADLINE = 60.0

PYTHON = (sys.executable,)
EVLOOP = (sys.executable, "-m", "evloop")


class Outcome(NamedTuple):
    """How a program ended, and what it printed."""

    returncode: int
    stdout: str
    stderr: str


class Program(subprocess.Popen):
    """A running program."""

    def __init__(self, command, cwd, env):
        super().__init__(
            [str(word) for word in command],
            cwd=cwd,
            env={**os.environ, **env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # Unbuffered: a line is read without any of what comes after it.
            bufsize=0,
        )

    def read_line(self):
        """Return the next line that the program prints."""
        watchdog = threading.Timer(DEADLINE, self.kill)
        watchdog.start()
        try:
            return self.stdout.readline().decode()
        finally:
            watchdog.cancel()
            watchdog.join()

    def outcome(self, stdin=""):
        """Wait for the program to end."""
        stdout, stderr = self.communicate(stdin.encode(), DEADLINE)
        return Outcome(self.returncode, stdout.decode(), stderr.decode())


@pytest.fixture
def spawn(tmp_path):
    """A function that starts a program, in a folder of its own.

    ``spawn(*command, env={})``; what still runs after the test is killed.
    """
    with contextlib.ExitStack() as stack:

        def spawn(*command, cwd=tmp_path, env=()):
            program = stack.enter_context(Program(command, cwd, dict(env)))
            stack.callback(program.kill)
            return program

        yield spawn


@pytest.fixture(params=["python", "evloop"])
def runner(request):
    """The words before a program's own: plain Python's, then evloop's."""
    return {"python": PYTHON, "evloop": EVLOOP}[request.param]


@pytest.fixture
def run_evloop(spawn):
    """A function: run ``python OPTIONS -m evloop ARGUMENTS`` to its end."""

    def run_evloop(*arguments, options=(), stdin="", **kwargs):
        command = (sys.executable, *options, "-m", "evloop", *arguments)
        return spawn(*command, **kwargs).outcome(stdin)

    return run_evloop


@pytest.fixture
def run_both(spawn):
    """A function: run a program by plain Python and by evloop; return both outcomes.

    ``run_both(*arguments, options=())``, where the options are the interpreter's.
    """

    def run_both(*arguments, options=(), stdin="", **kwargs):
        plain = spawn(sys.executable, *options, *arguments, **kwargs)
        native = spawn(sys.executable, *options, "-m", "evloop", *arguments, **kwargs)
        return plain.outcome(stdin), native.outcome(stdin)

    return run_both


@pytest.fixture
def write(tmp_path):
    """A function: write a file below the programs' folder and return its path."""

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def examples():
    """The folder of the examples."""
    return Path(__file__).parents[2] / "docs" / "examples"
