"""Which loops a file's tests run on."""

import asyncio

import pytest

import evloop

# Each loop with its own tasks, where a library's tasks are like any others.
each_loop = pytest.mark.parametrize(
    "loop_class",
    [asyncio.SelectorEventLoop, evloop.EventLoop],
    ids=["asyncio", "evloop"],
    indirect=True,
)
