"""anyio: cancel scopes, which look inside the tasks.

A scope reads ``_must_cancel``, ``_fut_waiter`` and ``get_coro()`` of its tasks to
see which it can cancel, does so again in each turn of the loop until they have
left it, and takes its requests back with ``uncancel()``.
"""

import asyncio
import sys
from contextlib import suppress

import anyio
import anyio.lowlevel
import pytest

# A deadline that is reached while its task waits, and one that never is.
SOON = 0.01
NEVER = 3600.0


async def forever():
    await asyncio.get_running_loop().create_future()


async def nested_task():
    await asyncio.get_running_loop().create_task(forever())


async def gathered():
    await asyncio.gather(forever(), forever())


async def asyncio_group():
    async with asyncio.TaskGroup() as group:
        group.create_task(forever())
        await forever()


# What a task may wait for when it is cancelled.
WAITS = {
    "future": forever,
    "future-of-asyncio": lambda: asyncio.Future(),
    "shield": lambda: asyncio.shield(asyncio.Future()),
    "wait_for": lambda: asyncio.wait_for(forever(), NEVER),
    "gather": gathered,
    "task": nested_task,
    "asyncio-group": asyncio_group,
    "sleep": lambda: asyncio.sleep(NEVER),
    "bare-yield": lambda: asyncio.sleep(0),
    "event": lambda: asyncio.Event().wait(),
    "anyio-event": lambda: anyio.Event().wait(),
}

# How many turns it takes to get out of it, when that is not one: the scope asks
# again in each.
TURNS = {
    "gather": 2,
    "asyncio-group": 3,
    "wait_for": 2 if sys.version_info < (3, 12) else 1,
}


def cancelling():
    return asyncio.current_task().cancelling()


# Cancel scopes


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_scope_cancelled_from_the_loop(run, wait):
    """Whatever the task waits for, the scope ends it and counts back to zero."""

    async def main():
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as scope:
            loop.call_soon(scope.cancel)
            while True:
                await wait()
        return scope.cancel_called, scope.cancelled_caught, cancelling()

    assert run(main()) == (True, True, 0)


@pytest.mark.parametrize("name", WAITS)
def test_cancellation_is_level_triggered(run, name):
    """In a cancelled scope every wait is interrupted, not only the first."""

    async def main():
        seen = []
        with anyio.CancelScope() as scope:
            scope.cancel()
            for _ in range(3):
                try:
                    await WAITS[name]()
                except asyncio.CancelledError as exc:
                    seen.append((exc.args[0].split()[:4], cancelling()))
        return seen, scope.cancelled_caught, cancelling()

    words = "Cancelled via cancel scope".split()
    turns = TURNS.get(name, 1)
    interruptions = [(words, number * turns) for number in (1, 2, 3)]
    # The block ended by itself: there was nothing left to catch.
    assert run(main()) == (interruptions, False, 0)


def test_done_future_is_not_a_checkpoint(run, loop):
    async def main():
        future = loop.create_future()
        future.set_result("result")
        with anyio.CancelScope() as scope:
            scope.cancel()
            result = await future
            await anyio.lowlevel.checkpoint()
        return result, scope.cancelled_caught

    assert run(main()) == ("result", True)


def test_future_awaited_is_cancelled(run, loop):
    """The message reaches the future's own exception."""

    async def main():
        future = loop.create_future()
        with anyio.CancelScope() as scope:
            loop.call_soon(scope.cancel, "enough")
            await future
        with pytest.raises(asyncio.CancelledError, match=r"reason: enough$"):
            await future
        return future.cancelled()

    assert run(main()) is True


def test_result_in_the_turn_of_the_cancellation_is_kept(run, loop):
    """A scope does not cancel a task whose future is done, until it waits again."""

    async def main():
        future = loop.create_future()
        with anyio.CancelScope() as scope:
            loop.call_soon(future.set_result, "result")
            loop.call_soon(scope.cancel)
            result = await future
            await forever()
        return result, scope.cancelled_caught, cancelling()

    assert run(main()) == ("result", True, 0)


def test_inner_scope_alone(run):
    async def main():
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                loop.call_soon(inner.cancel)
                await forever()
            await anyio.lowlevel.checkpoint()
        return inner.cancelled_caught, outer.cancelled_caught, cancelling()

    assert run(main()) == (True, False, 0)


def test_outer_scope_ends_the_inner(run):
    async def main():
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                loop.call_soon(outer.cancel)
                await forever()
        return inner.cancelled_caught, outer.cancelled_caught, cancelling()

    assert run(main()) == (False, True, 0)


def test_both_scopes_cancelled(run):
    """The inner one hands what it has to take back to the outer one."""

    async def main():
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as outer:
            with anyio.CancelScope() as inner:
                loop.call_soon(inner.cancel)
                loop.call_soon(outer.cancel)
                with suppress(asyncio.CancelledError):
                    await forever()
                await forever()
        return inner.cancelled_caught, outer.cancelled_caught, cancelling()

    assert run(main()) == (False, True, 0)


def test_shield_holds_until_it_is_left(run, loop):
    async def main():
        steps = []
        with anyio.CancelScope() as outer:
            outer.cancel()
            with anyio.CancelScope(shield=True):
                future = loop.create_future()
                loop.call_later(SOON, future.set_result, "whole")
                steps.append(await future)
                await anyio.lowlevel.checkpoint()
                steps.append(cancelling())
            steps.append("left")
            await anyio.lowlevel.checkpoint()
            steps.append("not reached")
        return steps, outer.cancelled_caught

    assert run(main()) == (["whole", 0, "left"], True)


def test_shield_taken_away(run):
    async def main():
        loop = asyncio.get_running_loop()
        with anyio.CancelScope() as outer:
            outer.cancel()
            with anyio.CancelScope(shield=True) as inner:
                loop.call_later(SOON, setattr, inner, "shield", False)
                await forever()
        return inner.cancelled_caught, outer.cancelled_caught, cancelling()

    assert run(main()) == (False, True, 0)


def test_shielded_scope_can_be_cancelled(run):
    async def main():
        with anyio.CancelScope(shield=True) as scope:
            asyncio.get_running_loop().call_soon(scope.cancel)
            await forever()
        return scope.cancelled_caught

    assert run(main()) is True


def test_scope_cancelled_before_it_is_entered(run):
    async def main():
        scope = anyio.CancelScope()
        scope.cancel()
        with scope:
            await forever()
        return scope.cancelled_caught, cancelling()

    assert run(main()) == (True, 0)


def test_scopes_left_in_the_wrong_order(run):
    async def main():
        with anyio.CancelScope() as outer:
            with anyio.CancelScope():
                with pytest.raises(RuntimeError, match="current cancel scope"):
                    outer.__exit__(None, None, None)

    run(main())


# Scopes and the cancellation of asyncio


def test_scope_lets_a_native_cancellation_through(run, loop):
    async def victim(scope):
        with scope:
            await forever()

    async def main():
        scope = anyio.CancelScope()
        task = loop.create_task(victim(scope))
        await anyio.lowlevel.checkpoint()
        task.cancel("native")
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling(), scope.cancelled_caught

    assert run(main()) == (True, 1, False)


@pytest.mark.parametrize("first", ["scope", "native"])
def test_native_cancellation_in_the_turn_of_the_scope(run, loop, first):
    """Two requests make one exception; only the scope's own is taken back."""

    async def victim(scope):
        with scope:
            await forever()

    async def main():
        scope = anyio.CancelScope()
        task = loop.create_task(victim(scope))
        await anyio.lowlevel.checkpoint()
        cancels = [scope.cancel, task.cancel]
        for cancel in cancels if first == "scope" else reversed(cancels):
            cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelled(), task.cancelling()

    # Once its waiter is cancelled the scope asks for nothing more.
    assert run(main()) == (True, 1)


def test_scope_does_not_ask_a_task_that_is_cancelled_already(run, loop):
    """A task about to run knows that it must cancel; the scope adds nothing."""
    seen = []

    async def victim(scope):
        with scope:
            try:
                await asyncio.sleep(0)
            finally:
                seen.append(cancelling())

    async def main():
        scope = anyio.CancelScope()
        task = loop.create_task(victim(scope))
        await anyio.lowlevel.checkpoint()
        task.cancel()
        scope.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return task.cancelling(), scope.cancelled_caught

    assert run(main()) == (1, False)
    assert seen == [1]


def test_timeout_of_asyncio_in_a_scope(run):
    async def main():
        with anyio.CancelScope() as scope:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(SOON):
                    await forever()
        return scope.cancelled_caught, cancelling()

    assert run(main()) == (False, 0)


def test_scope_in_a_timeout_of_asyncio(run):
    async def main():
        async with asyncio.timeout(NEVER) as timeout:
            with anyio.move_on_after(SOON) as scope:
                await forever()
        return scope.cancelled_caught, timeout.expired(), cancelling()

    assert run(main()) == (True, False, 0)


def test_timeout_of_asyncio_ends_a_scope_in_it(run):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(SOON):
                with anyio.CancelScope() as scope:
                    await forever()
        return scope.cancelled_caught, cancelling()

    assert run(main()) == (False, 0)


# Deadlines


def test_move_on_after(run):
    async def main():
        with anyio.move_on_after(SOON) as scope:
            await forever()
        return scope.cancelled_caught, cancelling()

    assert run(main()) == (True, 0)


def test_move_on_after_is_not_early(run, loop):
    async def main():
        with anyio.move_on_after(SOON) as scope:
            await forever()
        return loop.time() >= scope.deadline

    assert run(main()) is True


def test_move_on_after_in_time(run):
    async def main():
        with anyio.move_on_after(NEVER) as scope:
            await anyio.lowlevel.checkpoint()
        return scope.cancel_called, cancelling()

    assert run(main()) == (False, 0)


@pytest.mark.parametrize("outer_expires", [True, False])
def test_nested_deadlines(run, outer_expires):
    delays = (SOON, NEVER) if outer_expires else (NEVER, SOON)

    async def main():
        with anyio.move_on_after(delays[0]) as outer:
            with anyio.move_on_after(delays[1]) as inner:
                effective = anyio.current_effective_deadline()
                assert effective == min(outer.deadline, inner.deadline)
                await forever()
        return outer.cancelled_caught, inner.cancelled_caught

    assert run(main()) == (outer_expires, not outer_expires)


def test_deadline_moved(run, loop):
    async def main():
        with anyio.move_on_after(NEVER) as scope:
            scope.deadline = loop.time() + SOON
            await forever()
        return scope.cancelled_caught

    assert run(main()) is True


def test_deadline_in_the_past(run):
    async def main():
        with anyio.move_on_after(0) as scope:
            await anyio.lowlevel.checkpoint()
        return scope.cancelled_caught

    assert run(main()) is True


def test_fail_after(run):
    async def main():
        with pytest.raises(TimeoutError):
            with anyio.fail_after(SOON):
                await forever()
        with anyio.fail_after(NEVER):
            await anyio.lowlevel.checkpoint()
        return cancelling()

    assert run(main()) == 0
