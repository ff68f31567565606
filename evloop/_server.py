"""What ``create_server()`` returns: asyncio's server over native connections."""

import functools
import sys
from asyncio import base_events, tasks, unix_events

from . import _core


class Server(_core.Server, base_events.Server):
    """A server of an evloop; mirrors :class:`asyncio.Server`.

    The native part knows which transports belong to it. What asyncio counts itself
    (``_clients``, before Python 3.13 ``_active_count``) is put together from these and
    from transports that are not native, which tell of themselves.
    """

    if sys.version_info >= (3, 13):

        @property
        def _clients(self):
            return {*self._native_clients(), *self._other_clients}

        @_clients.setter
        def _clients(self, clients):
            self._other_clients = clients

        def _attach(self, transport):
            assert self._sockets is not None
            self._other_clients.add(transport)

        def _detach(self, transport):
            self._other_clients.discard(transport)
            self._released()

        def _is_idle(self):
            return not self._native_count() and not self._other_clients

    else:

        @property
        def _active_count(self):
            return self._native_count() + self._other_count

        @_active_count.setter
        def _active_count(self, count):
            self._other_count = count - self._native_count()

        def _attach(self):
            assert self._sockets is not None
            self._other_count += 1

        def _detach(self):
            self._other_count -= 1
            self._released()

        def _is_idle(self):
            return not self._active_count

        def close_clients(self) -> None:
            """Close all connections; mirrors what Python 3.13 has."""
            for transport in self._native_clients():
                transport.close()

        def abort_clients(self) -> None:
            """Close all connections at once; mirrors what Python 3.13 has."""
            for transport in self._native_clients():
                transport.abort()

    def _released(self):
        if self._sockets is None and self._waiters is not None and self._is_idle():
            self._wakeup()

    def close(self) -> None:
        """Stop accepting; mirrors :meth:`asyncio.Server.close`."""
        self._drain()
        super().close()


def _take_over(server):
    """Return a Server in the place of one of asyncio's that does not serve yet."""
    if type(server) is not base_events.Server:
        return server
    native = Server.__new__(Server)
    for name, value in vars(server).items():
        setattr(native, name, value)
    return native


def _native(create):
    """Let a method that makes servers make ours."""

    @functools.wraps(create)
    async def create_native(self, *args, start_serving=True, **kwargs):
        server = await create(self, *args, start_serving=False, **kwargs)
        server = _take_over(server)
        if start_serving:
            server._start_serving()
            # As asyncio: the sockets are watched when the server is returned.
            await tasks.sleep(0)
        return server

    return create_native


class ServerMixin:
    """The methods of a loop that make servers."""

    create_server = _native(base_events.BaseEventLoop.create_server)
    create_unix_server = _native(unix_events._UnixSelectorEventLoop.create_unix_server)
