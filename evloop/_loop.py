"""The event loop: what is native in C first, asyncio's own loop behind it."""

import asyncio

from . import _core


class EventLoop(_core.Loop, asyncio.SelectorEventLoop):
    """A drop-in replacement for :class:`asyncio.SelectorEventLoop`."""


def new_event_loop() -> EventLoop:
    """Return a new :class:`EventLoop`; the loop factory for asyncio.Runner."""
    return EventLoop()


def run(main, *, debug=None):
    """Run the coroutine *main* on a new evloop and return its result.

    Mirrors :func:`asyncio.run`: the loop is made, run and closed; *debug* is
    a bool or None (as the environment says). Raises RuntimeError when called
    from a running loop, and whatever *main* raises.
    """
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
