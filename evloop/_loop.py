"""The event loop: what is native in C first, asyncio's own loop behind it."""

import asyncio
import os
import selectors
import signal
import sys
from asyncio import constants
from collections.abc import (
    Callable,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
    MutableSequence,
)
from typing import Any, TypeVar

from . import _core
from ._process import Subprocesses
from ._resolve import Resolver
from ._server import ServerMixin
from ._tls import TLSMixin, protocol_class

_T = TypeVar("_T")


class _Queue(MutableSequence[asyncio.Handle]):
    """A native queue of handles, seen and changed as a sequence."""

    def __init__(self, loop: _core.Loop) -> None:
        self._loop = loop

    def _items(self) -> list[asyncio.Handle]:
        raise NotImplementedError

    def _replace(self, handles: Iterable[asyncio.Handle]) -> None:
        raise NotImplementedError

    def __len__(self) -> int:
        return len(self._items())

    def __getitem__(self, index):
        return self._items()[index]

    def __setitem__(self, index, handle) -> None:
        items = self._items()
        items[index] = handle
        self._replace(items)

    def __delitem__(self, index) -> None:
        items = self._items()
        del items[index]
        self._replace(items)

    def insert(self, index: int, handle: asyncio.Handle) -> None:
        """Insert *handle* before *index*."""
        items = self._items()
        items.insert(index, handle)
        self._replace(items)

    def clear(self) -> None:
        """Drop all handles."""
        self._replace(())

    def __repr__(self) -> str:
        return repr(self._items())


class _Ready(_Queue):
    """The ready queue, as the deque that asyncio has in ``loop._ready``."""

    def __init__(self, loop: _core.Loop) -> None:
        super().__init__(loop)
        self._items = loop._ready_items
        self._replace = loop._ready_replace
        self.append = loop._ready_append
        self.popleft = loop._ready_popleft

    def appendleft(self, handle: asyncio.Handle) -> None:
        """Have *handle* run first."""
        self.insert(0, handle)


class _Scheduled(_Queue):
    """The timers, as the list that asyncio has in ``loop._scheduled``, sorted."""

    def _items(self) -> list[asyncio.Handle]:
        return sorted(self._loop._scheduled_items())

    def _replace(self, handles: Iterable[asyncio.Handle]) -> None:
        old = dict.fromkeys(map(id, self._loop._scheduled_items()))
        new = {id(handle): handle for handle in handles}
        for handle in self._loop._scheduled_items():
            if id(handle) not in new:
                self._loop._timer_handle_cancelled(handle)
        for key, handle in new.items():
            if key not in old:
                self._loop._scheduled_add(handle)


class _Keys(Mapping[int, selectors.SelectorKey]):
    """What ``get_map()`` of asyncio's selector gives."""

    def __init__(self, keys: dict[int, selectors.SelectorKey]) -> None:
        self._keys = keys

    def _number(self, fileobj):
        try:
            return selectors._fileobj_to_fd(fileobj)
        except ValueError:  # closed by now
            for key in self._keys.values():
                if key.fileobj is fileobj:
                    return key.fd
            raise

    def __getitem__(self, fileobj):
        key = self._keys.get(self._number(fileobj))
        if key is None:
            raise KeyError(f"{fileobj!r} is not registered")
        return key

    def __iter__(self) -> Iterator[int]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


class _Selector(selectors.BaseSelector):
    """What the loop watches, as the selector that asyncio has in ``loop._selector``.

    A view: descriptors are registered by ``loop.add_reader()`` and its kin.
    """

    _evloop_native = True

    def __init__(self, loop: _core.Loop) -> None:
        self._loop = loop

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name == "select" and self._loop._selector is self:
            self._loop._selector = self  # which is polled by that from now on

    def __delattr__(self, name):
        super().__delattr__(name)
        if name == "select" and self._loop._selector is self:
            self._loop._selector = self

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
        """Return a mapping of descriptor to SelectorKey, a snapshot.

        It can be asked by file objects, too.
        """
        return _Keys(
            {
                fd: selectors.SelectorKey(file, fd, mask, (reader, writer))
                for fd, file, mask, reader, writer in self._loop._watch_items()
            }
        )

    def close(self) -> None:
        """Do nothing: the loop closes its own poll."""


class _Transports(MutableMapping[int, asyncio.BaseTransport]):
    """Transports by descriptor, as the mapping in asyncio's ``loop._transports``."""

    def __init__(self, loop: "EventLoop") -> None:
        self._loop = loop
        self._others = loop._python_transports

    def __getitem__(self, fd: int) -> asyncio.BaseTransport:
        transport = self._loop._transport_of(fd)
        return self._others[fd] if transport is None else transport

    def __setitem__(self, fd: int, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, (_core.StreamTransport, _core.DatagramTransport)):
            self._loop._transport_hide(fd, False)
        else:
            self._others[fd] = transport

    def __delitem__(self, fd: int) -> None:
        if not self._loop._transport_hide(fd, True):
            del self._others[fd]

    def __iter__(self) -> Iterator[int]:
        return iter({*self._loop._transport_fds(), *self._others})

    def __len__(self) -> int:
        return sum(1 for _ in self)


@_core._adopt
class EventLoop(
    _core.Loop,
    ServerMixin,
    Subprocesses,
    Resolver,
    TLSMixin,
    asyncio.SelectorEventLoop,
):
    """A drop-in replacement for :class:`asyncio.SelectorEventLoop`.

    Polls natively; with a *selector* of your own it polls that, as asyncio does.
    """

    # What asyncio's __init__ sets, on all versions. As slots these leave the
    # instance's dict empty, without which the interpreter looks every method up
    # there first, on each call.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_clock_resolution",
        "_coroutine_origin_tracking_enabled",
        "_coroutine_origin_tracking_saved_depth",
        "_csock",
        "_default_executor",
        "_executor_shutdown_called",
        "_internal_fds",
        "_old_agen_hooks",
        "_python_transports",
        "_selector",
        "_signal_handlers",
        "_ssock",
        "_unix_server_sockets",
        "_watcher",
        "slow_callback_duration",
    )

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        _core.Loop.__init__(self)
        if selector is None:
            selector = _Selector(self)
        asyncio.SelectorEventLoop.__init__(self, selector)

    def _make_self_pipe(self) -> None:
        if not isinstance(self._selector, _Selector):
            super()._make_self_pipe()
            return
        # Made already: an eventfd, and for signals a pair of sockets on demand.
        self._ssock = self._csock = None
        self._internal_fds += 1

    def _close_self_pipe(self) -> None:
        if self._ssock is not None:
            super()._close_self_pipe()
            return
        self._internal_fds -= 1

    def _make_ssl_transport(
        self,
        rawsock,
        protocol,
        sslcontext,
        waiter=None,
        *,
        server_side=False,
        server_hostname=None,
        extra=None,
        server=None,
        ssl_handshake_timeout=constants.SSL_HANDSHAKE_TIMEOUT,
        ssl_shutdown_timeout=constants.SSL_SHUTDOWN_TIMEOUT,
        **context,
    ):
        # context: from Python 3.15 on.
        self._ensure_fd_no_transport(rawsock)
        ssl_protocol = protocol_class()(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
        )
        self._make_socket_transport(
            rawsock, ssl_protocol, extra=extra, server=server, **context
        )
        return ssl_protocol._app_transport

    @property
    def _transports(self) -> _Transports:
        return _Transports(self)

    @_transports.setter
    def _transports(self, transports: MutableMapping[int, Any]) -> None:
        self._python_transports = transports

    @property
    def _ready(self) -> _Ready:
        return _Ready(self)

    @_ready.setter
    def _ready(self, handles: Iterable[asyncio.Handle]) -> None:
        self._ready_replace(handles)

    @property
    def _scheduled(self) -> _Scheduled:
        return _Scheduled(self)

    @_scheduled.setter
    def _scheduled(self, handles: Iterable[asyncio.Handle]) -> None:
        _Scheduled(self)._replace(handles)


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
