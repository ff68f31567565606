"""The programs in C, compiled when they are first needed."""

import functools
import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from .runner import WorkerError

FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")


@functools.cache
def program(name: str) -> Path:
    """Return the executable of ``name.c``. Raises WorkerError."""
    target = Path(_folder().name, name)
    compile_to(target, name)
    return target


def compile_to(target: Path, name: str, *flags: str) -> None:
    """Compile ``name.c`` with the system's compiler. Raises WorkerError."""
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        raise WorkerError(f"no C compiler: {compiler[0]} not found")
    source = Path(__file__).with_name(f"{name}.c")
    command = [*compiler, *FLAGS, *flags, "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError(f"{name}.c does not compile: {done.stderr.strip()}")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Return a folder that is removed when this process ends."""
    return tempfile.TemporaryDirectory(prefix="benchmarks-")
