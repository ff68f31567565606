"""The event loop: what is native in C first, asyncio's own loop behind it."""

import asyncio
import os
import selectors
import signal
import sys
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from . import _core

_T = TypeVar("_T")


class _Ready:
    """The ready queue, as the deque that asyncio has in ``loop._ready``."""

    def __init__(self, loop: _core.Loop) -> None:
        self._loop = loop
        self.append = loop._ready_append
        self.appendleft = loop._ready_appendleft
        self.pop = loop._ready_pop
        self.popleft = loop._ready_popleft

    def __len__(self) -> int:
        return len(self._loop._ready_items())

    def __iter__(self) -> Iterator[asyncio.Handle]:
        return iter(self._loop._ready_items())

    def __getitem__(self, index: int) -> asyncio.Handle:
        return self._loop._ready_items()[index]

    def __repr__(self) -> str:
        return f"deque({self._loop._ready_items()!r})"

    def extend(self, handles: Iterable[asyncio.Handle]) -> None:
        """Append each of *handles*."""
        for handle in handles:
            self.append(handle)

    def clear(self) -> None:
        """Drop all handles."""
        while self._loop._ready_items():
            self.popleft()


class _Selector(selectors.BaseSelector):
    """What the loop watches, as the selector that asyncio has in ``loop._selector``.

    A view: descriptors are registered by ``loop.add_reader()`` and its kin.
    """

    _evloop_native = True

    def __init__(self, loop: _core.Loop) -> None:
        self._loop = loop

    def register(self, fileobj, events, data=None):
        """Raise RuntimeError: the loop itself registers."""
        raise RuntimeError("register with loop.add_reader() and loop.add_writer()")

    unregister = modify = register

    def select(self, timeout: float | None = None):
        """Wait up to *timeout* seconds; return a list of (SelectorKey, mask)."""
        events = self._loop._select(timeout)
        keys = self.get_map()
        return [(keys[fd], mask) for fd, mask in events if fd in keys]

    def get_map(self) -> Mapping[int, selectors.SelectorKey]:
        """Return a dict of descriptor to SelectorKey, a snapshot."""
        return {
            fd: selectors.SelectorKey(file, fd, mask, (reader, writer))
            for fd, file, mask, reader, writer in self._loop._watch_items()
        }

    def close(self) -> None:
        """Do nothing: the loop closes its own poll."""


class EventLoop(_core.Loop, asyncio.SelectorEventLoop):
    """A drop-in replacement for :class:`asyncio.SelectorEventLoop`."""

    def __init__(self) -> None:
        _core.Loop.__init__(self)
        asyncio.SelectorEventLoop.__init__(self, _Selector(self))

    def _make_self_pipe(self) -> None:
        # Made already: an eventfd, and for signals a pair of sockets on demand.
        self._ssock = self._csock = None
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        self._internal_fds -= 1

    @property
    def _ready(self) -> _Ready:
        return _Ready(self)

    @_ready.setter
    def _ready(self, handles: Iterable[asyncio.Handle]) -> None:
        handles = list(handles)
        ready = self._ready
        ready.clear()
        ready.extend(handles)

    @property
    def _scheduled(self) -> list[asyncio.TimerHandle]:
        return sorted(self._scheduled_items())

    @_scheduled.setter
    def _scheduled(self, handles: Iterable[asyncio.TimerHandle]) -> None:
        keep = set(map(id, handles))
        for handle in self._scheduled_items():
            if id(handle) not in keep:
                self._timer_handle_cancelled(handle)


if sys.version_info < (3, 12):
    # As asyncio does from 3.12 on: a child must not write its signals into the
    # parent's loop.
    os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


def new_event_loop() -> EventLoop:
    """Return a new :class:`EventLoop`; the loop factory for asyncio.Runner."""
    return EventLoop()


def run(
    main: Coroutine[Any, Any, _T],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
) -> _T:
    """Run the coroutine *main* on a new evloop and return its result.

    Mirrors :func:`asyncio.run`: the loop is made, run and closed; *debug* is
    a bool or None (as the environment says). Raises RuntimeError when called
    from a running loop, and whatever *main* raises.
    """
    if asyncio.events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with asyncio.Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)
