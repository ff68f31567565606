"""The event loop policy, and the two calls that set and unset it."""

import asyncio
import sys
import threading
from asyncio import events, unix_events

from ._loop import new_event_loop

# Python 3.14 deprecates the public names of the policy system; what is
# underneath still works, and does not warn.
if sys.version_info >= (3, 14):
    _BasePolicy = unix_events._DefaultEventLoopPolicy
    _get_policy = events._get_event_loop_policy
    _set_policy = events._set_event_loop_policy
else:
    _BasePolicy = asyncio.DefaultEventLoopPolicy
    _get_policy = asyncio.get_event_loop_policy
    _set_policy = asyncio.set_event_loop_policy


class EventLoopPolicy(_BasePolicy):
    """A policy whose loops are :class:`evloop.EventLoop`.

    Mirrors :class:`asyncio.DefaultEventLoopPolicy`. On every version of Python
    the main thread gets a loop on demand, as asyncio did until Python 3.14.
    """

    def _loop_factory(self):
        return new_event_loop()

    def get_event_loop(self):
        """Return the current thread's event loop.

        In the main thread, make one and set it if none was ever set. Raises
        RuntimeError in other threads without a loop, and after
        ``set_event_loop(None)``.
        """
        local = self._local
        if (
            local._loop is None
            and not getattr(local, "_set_called", False)
            and threading.current_thread() is threading.main_thread()
        ):
            self.set_event_loop(self.new_event_loop())
        return super().get_event_loop()

    def set_event_loop(self, loop):
        """Set the current thread's event loop to *loop*, a loop or None."""
        super().set_event_loop(loop)
        self._local._set_called = True


def install() -> None:
    """Make every loop that asyncio creates from now on an evloop.

    Sets an :class:`EventLoopPolicy`. From Python 3.14 on policies are
    deprecated: prefer ``evloop.run(main())`` or
    ``asyncio.run(main(), loop_factory=evloop.new_event_loop)`` there.
    No DeprecationWarning is raised by this call.
    """
    _set_policy(EventLoopPolicy())


def uninstall() -> None:
    """Give asyncio its default policy back, if ours is the one set."""
    if isinstance(_get_policy(), EventLoopPolicy):
        _set_policy(None)
