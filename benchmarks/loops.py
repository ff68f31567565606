"""The event loops that can be measured, and which of them are installed."""

import importlib
import importlib.metadata
import importlib.util
import platform
from asyncio import AbstractEventLoop

#: The loop that the others are compared with.
OURS = "evloop"

#: uvloop with the transports of this package in place of its own.
PATCHED = "aiofastnet"

#: No loop, but a server in C: as fast as the system allows.
LIMIT = "limit"

#: All of them in table order. But for those two, each is the name of its package,
#: whose ``new_event_loop()`` makes one.
NAMES = (OURS, "asyncio", "uvloop", PATCHED, "rloop", "zuvloop", "blazio", LIMIT)

#: Those that differ from others by their sockets alone.
SOCKETS_ONLY = (PATCHED, LIMIT)


def installed() -> list[str]:
    """Return the names of the loops this interpreter can import."""
    return [name for name in NAMES if all(map(importlib.util.find_spec, _needs(name)))]


def _needs(name: str) -> tuple[str, ...]:
    """Return the packages that a loop is made of."""
    return {PATCHED: ("uvloop", PATCHED), LIMIT: ()}.get(name, (name,))


def new_event_loop(name: str) -> AbstractEventLoop:
    """Return a new loop of the package *name*. Raises ImportError."""
    if name == PATCHED:
        return importlib.import_module(PATCHED).patch_loop(new_event_loop("uvloop"))
    return importlib.import_module(name).new_event_loop()


def version(name: str) -> str:
    """Return the version of an installed loop."""
    if name == "asyncio":
        return platform.python_version()
    if name == LIMIT:
        return "a server in C"
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
