"""Asynchronous generators: the loop's hooks and shutdown_asyncgens."""

import asyncio
import gc
import sys

import pytest


async def begin(generator):
    """Take the first value inside the loop, where the hooks are set."""
    return await anext(generator)


async def numbers(log):
    try:
        yield 1
        yield 2
    finally:
        await asyncio.sleep(0)
        log.append("closed")


def test_hooks_while_running_and_restored_after(loop):
    seen = []
    outside = (lambda agen: None, lambda agen: None)
    before = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(*outside)
    try:
        loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert tuple(sys.get_asyncgen_hooks()) == outside
    finally:
        sys.set_asyncgen_hooks(*before)
    assert seen[0].firstiter == loop._asyncgen_firstiter_hook
    assert seen[0].finalizer == loop._asyncgen_finalizer_hook


def test_hooks_are_restored_after_an_exception(loop):
    before = sys.get_asyncgen_hooks()

    def leave():
        raise KeyboardInterrupt

    loop.call_soon(leave)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert sys.get_asyncgen_hooks() == before


def test_abandoned_generator_is_closed_by_the_loop(loop):
    log = []

    async def main():
        async for _ in numbers(log):
            break
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert log == ["closed"]


def test_shutdown_closes_what_is_left(loop):
    log = []
    generators = [numbers(log) for _ in range(3)]

    async def main():
        for generator in generators:
            await anext(generator)

    loop.run_until_complete(main())
    assert len(loop._asyncgens) == 3
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert log == ["closed"] * 3
    assert len(loop._asyncgens) == 0


def test_shutdown_reports_failures(loop, reported):
    contexts = reported(loop)

    async def failing():
        try:
            yield 1
        finally:
            raise LookupError("mine")

    generator = failing()
    loop.run_until_complete(begin(generator))
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = contexts
    assert context["asyncgen"] is generator
    assert type(context["exception"]) is LookupError


def test_iteration_after_shutdown_warns(loop):
    loop.run_until_complete(loop.shutdown_asyncgens())
    generator = numbers([])

    async def main():
        with pytest.warns(ResourceWarning, match="was scheduled after"):
            await anext(generator)
        await generator.aclose()

    loop.run_until_complete(main())


def test_generator_dropped_after_the_loop_was_closed(loop):
    log = []
    generator = numbers(log)
    loop.run_until_complete(begin(generator))
    loop.close()
    # The finalizer finds the loop closed and leaves it at that.
    del generator
    gc.collect()
    assert log == []


def test_finalizer_hook_called_by_hand(loop):
    log = []

    async def main():
        generator = numbers(log)
        await anext(generator)
        loop._asyncgen_finalizer_hook(generator)
        for _ in range(5):
            await asyncio.sleep(0)
        return generator not in loop._asyncgens

    assert loop.run_until_complete(main()) is True
    assert log == ["closed"]


def test_firstiter_hook_called_by_hand(loop):
    generator = numbers([])
    loop._asyncgen_firstiter_hook(generator)
    assert generator in loop._asyncgens
