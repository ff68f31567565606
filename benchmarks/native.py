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

OPENSSL = ("-lssl", "-lcrypto")

#: What programs need beside the C library.
LIBRARIES = {"tlsload": OPENSSL, "tlsecho": OPENSSL}


@functools.cache
def program(name: str) -> Path:
    """Return the executable of ``name.c``. Raises WorkerError."""
    target = folder() / name
    compile_to(target, name)
    return target


def compile_to(target: Path, name: str, *flags: str) -> None:
    """Compile ``name.c`` with the system's compiler. Raises WorkerError."""
    compiler = _compiler()
    if shutil.which(compiler[0]) is None:
        raise WorkerError(f"no C compiler: {compiler[0]} not found")
    source = Path(__file__).with_name(f"{name}.c")
    words = [*compiler, *FLAGS, *flags, "-o", str(target), str(source)]
    command = [*words, *LIBRARIES.get(name, ())]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise WorkerError(f"{name}.c does not compile: {done.stderr.strip()}")


def lacks_header(name: str) -> bool:
    """Tell whether there is a C compiler, but not this header for it."""
    compiler = _compiler()
    if shutil.which(compiler[0]) is None:
        return False
    command = [*compiler, "-fsyntax-only", "-x", "c", "-"]
    source = f"#include <{name}>\n"
    return (
        subprocess.run(command, input=source, capture_output=True, text=True).returncode
        != 0
    )


def folder() -> Path:
    """Return a folder that is removed when this process ends."""
    return Path(_folder().name)


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC") or "cc")


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="benchmarks-")
