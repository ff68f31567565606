"""A step of a native task, and its waking by a future, allocate nothing.

Hooks on Python's allocators, in allocations.c, count what is asked of them. What
user code allocates by itself is told by driving the same coroutines by hand.
"""

import asyncio
import contextlib
import gc
import importlib.util
import itertools
import os
import shlex
import shutil
import subprocess
import sysconfig
import types
from pathlib import Path

import pytest

import evloop

SOURCE = Path(__file__).with_name("allocations.c")
# Steps before the counting: bytecode gets specialised, and containers grow.
WARM = 300
STEPS = 5000
ROUNDS = 5


@pytest.fixture(scope="module")
def hooks(tmp_path_factory):
    """The compiled allocations.c."""
    compiler = shlex.split(sysconfig.get_config_var("LDSHARED"))
    include = sysconfig.get_path("include")
    if not shutil.which(compiler[0]):
        pytest.skip(f"no C compiler: {compiler[0]}")
    if not Path(include, "Python.h").exists():
        pytest.skip(f"no C headers of Python in {include}")
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = tmp_path_factory.mktemp("hooks") / f"allocations{suffix}"
    flags = [*shlex.split(sysconfig.get_config_var("CCSHARED")), f"-I{include}"]
    # A sanitizer that is preloaded into the tests is not for the compiler.
    environ = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    subprocess.run([*compiler, *flags, SOURCE, "-o", built], env=environ, check=True)
    spec = importlib.util.spec_from_file_location("allocations", built)
    return importlib.util.module_from_spec(spec)


@pytest.fixture
def count(hooks):
    """The hooks, in place; no garbage collection adds to what they count."""
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    hooks.install()
    try:
        yield hooks
    finally:
        hooks.uninstall()
        if collecting:
            gc.enable()


def by_hand(count, coroutines):
    """Count what *coroutines* allocate when nothing but send() steps them."""
    with contextlib.suppress(StopIteration):
        for coroutine in itertools.cycle(coroutines):
            coroutine.send(None)
    for coroutine in coroutines:
        coroutine.close()
    return count.counted()


def by_tasks(count, coroutines, loop, task_class):
    """Count what is allocated when tasks of *task_class* step *coroutines*."""
    loop.set_debug(False)
    tasks = [task_class(coroutine, loop=loop) for coroutine in coroutines]
    for task in tasks:
        loop.run_until_complete(task)
    return count.counted()


def by_native_tasks(count, scene, loop):
    """Count what native tasks allocate in *scene*: the least of some rounds.

    Once in a tick of the clock the loop lets signal handlers in, outside of any
    task. asyncio's dict of current tasks, until 3.13, then loses and gets a key,
    and has to allocate every fifth time or so.
    """
    return min(
        by_tasks(count, scene(count, loop), loop, evloop.Task) for _ in range(ROUNDS)
    )


@types.coroutine
def yields(count, warm, counted):
    for _ in warm:
        yield
    count.start()
    for _ in counted:
        yield
    count.stop()


async def spin(count, warm, counted):
    """Yield once for each item of two iterators, counting along the second.

    Of several in turn, the last to start and the first to stop set the bounds.
    """
    await yields(count, warm, counted)


async def nap(count, warm, counted):
    """The same, with a coroutine of its own for each step."""
    for _ in warm:
        await asyncio.sleep(0)
    count.start()
    for _ in counted:
        await asyncio.sleep(0)
    count.stop()


async def play(rounds):
    """In each round, await one future and then set another's result."""
    for own, others, mark in rounds:
        await own
        if mark is not None:
            mark()
        others.set_result(None)


# Each makes coroutines that, run in turn, start and stop the counting.
def spin_alone(count, loop):
    return [spin(count, itertools.repeat(None, WARM), itertools.repeat(None, STEPS))]


def spin_over_range(count, loop):
    return [spin(count, iter(range(WARM)), iter(range(STEPS)))]


def spin_hundred(count, loop):
    return [
        spin(count, itertools.repeat(None, WARM), itertools.repeat(None, STEPS // 100))
        for _ in range(100)
    ]


def sleep_zero(count, loop):
    return [nap(count, itertools.repeat(None, WARM), itertools.repeat(None, STEPS))]


def ping_pong(count, loop):
    rounds = WARM + STEPS + 1
    pings = [loop.create_future() for _ in range(rounds + 1)]
    pongs = [loop.create_future() for _ in range(rounds)]
    marks = [None] * rounds
    marks[WARM], marks[WARM + STEPS] = count.start, count.stop
    pings[0].set_result(None)
    # The first future is done: the one who awaits it begins.
    return [
        play(list(zip(pings, pongs, marks, strict=False))),
        play([(pongs[n], pings[n + 1], None) for n in range(rounds)]),
    ]


SPINNING = [spin_alone, spin_hundred]
ALL = [*SPINNING, spin_over_range, sleep_zero, ping_pong]


@pytest.mark.parametrize("scene", SPINNING)
def test_native_step_calls_no_allocator(count, evloop_loop, scene):
    assert by_native_tasks(count, scene, evloop_loop) == 0


@pytest.mark.parametrize("scene", ALL)
def test_native_task_adds_nothing_to_user_code(count, evloop_loop, scene):
    alone = by_hand(count, scene(count, evloop_loop))
    assert by_native_tasks(count, scene, evloop_loop) == alone


@pytest.mark.parametrize("scene", ALL)
def test_stock_task_adds_allocations(count, evloop_loop, scene):
    # Or the tests above would pass with hooks that count nothing.
    alone = by_hand(count, scene(count, evloop_loop))
    coroutines = scene(count, evloop_loop)
    added = by_tasks(count, coroutines, evloop_loop, asyncio.Task) - alone
    assert added >= STEPS * 0.9
