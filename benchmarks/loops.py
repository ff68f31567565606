"""The event loops that can be measured, and which of them are installed."""

import importlib
import importlib.metadata
import importlib.util
import platform
from asyncio import AbstractEventLoop

#: The loop that the others are compared with, and all loops in table order.
#: Each is the name of its package, whose ``new_event_loop()`` makes one.
OURS = "evloop"
NAMES = (OURS, "asyncio", "uvloop", "rloop", "zuvloop", "blazio")


def installed() -> list[str]:
    """Return the names of the loops this interpreter can import."""
    return [name for name in NAMES if importlib.util.find_spec(name)]


def new_event_loop(name: str) -> AbstractEventLoop:
    """Return a new loop of the package *name*. Raises ImportError."""
    return importlib.import_module(name).new_event_loop()


def version(name: str) -> str:
    """Return the version of an installed loop."""
    if name == "asyncio":
        return platform.python_version()
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
