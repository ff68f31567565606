"""evloop: a faster event loop for asyncio, written in C.

Run a program on it with one line::

    evloop.run(main())            # asyncio.run() on evloop
    evloop.install()              # or: every later asyncio.run() uses evloop

or, with no line changed, ``python -m evloop script.py``.
"""

import asyncio

from ._core import Future, Handle, Task, TimerHandle
from ._loop import EventLoop, new_event_loop, run
from ._policy import EventLoopPolicy, install, uninstall
from ._server import Server
from ._tls import tls_engine

__all__ = [
    "EventLoop",
    "EventLoopPolicy",
    "Future",
    "Handle",
    "Server",
    "Task",
    "TimerHandle",
    "__version__",
    "install",
    "new_event_loop",
    "run",
    "tls_engine",
    "uninstall",
]

__version__ = "0.1.0"

if hasattr(asyncio, "create_eager_task_factory"):  # from Python 3.12 on
    eager_task_factory = asyncio.create_eager_task_factory(Task)
    __all__ += ["eager_task_factory"]
