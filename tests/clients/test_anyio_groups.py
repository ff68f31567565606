"""anyio: task groups, and what anyio says of tasks."""

import asyncio
import sys

import anyio
import anyio.lowlevel
import pytest

import evloop

# A deadline that is reached while its task waits.
SOON = 0.01


class Failure(Exception):
    """What the tests' own code raises."""


async def fail(*args):
    raise Failure(*args)


async def forever():
    await asyncio.get_running_loop().create_future()


def cancelling():
    return asyncio.current_task().cancelling()


# Task groups


def test_group_waits_for_its_tasks(run):
    async def child(log, number):
        for _ in range(number):
            await anyio.lowlevel.checkpoint()
        log.append(number)

    async def main():
        log = []
        async with anyio.create_task_group() as group:
            for number in (3, 1, 2):
                group.start_soon(child, log, number)
        return log

    assert run(main()) == [1, 2, 3]


def test_failing_child_cancels_the_others(run):
    async def sibling(log):
        try:
            await forever()
        except asyncio.CancelledError:
            log.append("sibling")
            raise

    async def main():
        log = []
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(sibling, log)
                group.start_soon(fail, "reason")
                try:
                    await forever()
                finally:
                    log.append("body")
        return log, repr(caught.value.exceptions), cancelling()

    log, exceptions, left = run(main())
    assert sorted(log) == ["body", "sibling"]
    assert exceptions == "(Failure('reason'),)"
    assert left == 0


def test_all_failures_are_reported(run):
    async def fail_when_cancelled(number):
        try:
            await forever()
        finally:
            raise Failure(number)

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                for number in range(3):
                    group.start_soon(fail_when_cancelled, number)
                await anyio.lowlevel.checkpoint()
                raise Failure("body")
        return sorted(str(exc) for exc in caught.value.exceptions)

    assert run(main()) == ["0", "1", "2", "body"]


def test_failure_in_a_group_within_a_group(run):
    async def inner():
        async with anyio.create_task_group() as group:
            group.start_soon(forever)
            group.start_soon(fail)

    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with anyio.create_task_group() as group:
                group.start_soon(forever)
                group.start_soon(inner)
        (exc,) = caught.value.exceptions
        return type(exc), [type(leaf) for leaf in exc.exceptions], cancelling()

    assert run(main()) == (ExceptionGroup, [Failure], 0)


def test_task_is_cancelled_at_its_first_wait_not_before(run):
    """A scope lets tasks that have not begun begin: it asks get_coro()."""

    async def child(log):
        log.append("begun")
        await anyio.lowlevel.checkpoint()
        log.append("not reached")

    async def main():
        log = []
        async with anyio.create_task_group() as group:
            group.start_soon(child, log)
            group.cancel_scope.cancel()
        return log

    assert run(main()) == ["begun"]


def test_cancelled_group_ends_what_refuses(run):
    """Tasks that swallow the cancellation are asked again in every turn."""

    async def child(log):
        for number in range(3):
            try:
                await forever()
            except asyncio.CancelledError:
                log.append(number)

    async def main():
        log = []
        async with anyio.create_task_group() as group:
            group.start_soon(child, log)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        return log

    assert run(main()) == [0, 1, 2]


def test_native_cancellation_of_the_host(run, loop):
    """A group that is cancelled while it waits cancels its children and is gone."""

    async def child(log, started):
        started.set()
        try:
            await forever()
        finally:
            log.append("cancelled")

    async def host(*args):
        async with anyio.create_task_group() as group:
            group.start_soon(child, *args)

    async def main():
        log, started = [], anyio.Event()
        task = loop.create_task(host(log, started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return log, task.cancelled()

    assert run(main()) == (["cancelled"], True)


def test_native_cancellation_of_a_child_is_no_failure(run):
    async def child(started):
        started.append(asyncio.current_task())
        await forever()

    async def main():
        started = []
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child, started)
            await anyio.lowlevel.checkpoint()
            started[0].cancel()
            with pytest.raises(anyio.TaskCancelled):
                await handle
        return started[0].cancelled()

    assert run(main()) is True


def test_handle_of_a_task(run):
    async def answer():
        await anyio.lowlevel.checkpoint()
        return 42

    async def main():
        async with anyio.create_task_group() as group:
            done = group.start_soon(answer)
            cancelled = group.start_soon(forever)
            await anyio.lowlevel.checkpoint()
            cancelled.cancel()
            await cancelled.wait()
            return await done, cancelled.status

    result, status = run(main())
    assert result == 42
    assert status is anyio.TaskHandle.Status.CANCELLED


def test_start(run):
    """start() waits for a future of asyncio's own, on any loop."""

    async def service(*, task_status):
        await anyio.lowlevel.checkpoint()
        task_status.started("ready")
        await forever()

    async def main():
        async with anyio.create_task_group() as group:
            value = await group.start(service)
            group.cancel_scope.cancel()
        return value, cancelling()

    assert run(main()) == ("ready", 0)


def test_start_of_what_fails(run):
    async def service(*, task_status):
        await fail("early")

    async def main():
        async with anyio.create_task_group() as group:
            with pytest.raises(Failure, match="early"):
                await group.start(service)
        return group.cancel_scope.cancel_called

    assert run(main()) is False


def test_start_of_what_does_not_report(run):
    async def service(*, task_status):
        await anyio.lowlevel.checkpoint()

    async def main():
        async with anyio.create_task_group() as group:
            with pytest.raises(RuntimeError, match="without calling"):
                await group.start(service)

    run(main())


def test_start_is_cancelled(run):
    async def service(log, *, task_status):
        try:
            await forever()
        finally:
            log.append("ended")

    async def main():
        log = []
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(SOON) as scope:
                await group.start(service, log)
            log.append("moved on")
        return log, scope.cancelled_caught, cancelling()

    assert run(main()) == (["ended", "moved on"], True, 0)


@pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio has no eager tasks before 3.12"
)
@pytest.mark.parametrize("task_class", [asyncio.Task, evloop.Task])
def test_group_with_eager_tasks(run, loop, task_class):
    """A group makes its own tasks lazily: they must have a scope when they begin."""

    async def child(log):
        log.append("begun")
        with anyio.move_on_after(SOON) as scope:
            await forever()
        log.append(scope.cancelled_caught)

    async def main():
        log = []
        async with anyio.create_task_group() as group:
            group.start_soon(child, log)
            assert log == []
            task = loop.create_task(child(log))
            assert log == ["begun"]
            assert type(task) is task_class
            await task
        return log, cancelling()

    loop.set_task_factory(asyncio.create_eager_task_factory(task_class))
    log, left = run(main())
    assert sorted(log, key=str) == [True, True, "begun", "begun"]
    assert left == 0


# What anyio says of tasks


def test_task_info(run):
    async def child():
        info = anyio.get_current_task()
        task = asyncio.current_task()
        return (
            info.id == id(task),
            info.name == task.get_name(),
            info.coro is task.get_coro(),
            info.parent_id,
            info.has_pending_cancellation(),
        )

    async def main():
        async with anyio.create_task_group() as group:
            handle = group.start_soon(child, name="child")
        result = await handle
        return result, handle.name, id(asyncio.current_task())

    result, name, parent = run(main())
    assert result == (True, True, True, parent, False)
    assert name == "child"


def test_pending_cancellation(run, loop):
    """Seen before the task runs again, whatever it was waiting for."""

    async def main():
        future = loop.create_future()
        async with anyio.create_task_group() as group:
            group.start_soon(forever, name="waiting")
            group.start_soon(asyncio.wait_for, future, None, name="future")
            await anyio.wait_all_tasks_blocked()
            before = pending()
            future.cancel()
            after_one = pending()
            group.cancel_scope.cancel()
            after_both = pending()
        return before, after_one, after_both

    def pending():
        return sorted(
            info.name
            for info in anyio.get_running_tasks()
            if info.has_pending_cancellation()
        )

    before, after_one, after_both = run(main())
    assert before == []
    assert after_one == ["future"]
    assert after_both[-2:] == ["future", "waiting"]


def test_pending_cancellation_of_a_task_that_is_about_to_run(run, loop):
    async def main():
        task = loop.create_task(forever(), name="child")
        before = pending()
        task.cancel()
        after = pending()
        with pytest.raises(asyncio.CancelledError):
            await task
        return before, after

    def pending():
        return [
            info.has_pending_cancellation()
            for info in anyio.get_running_tasks()
            if info.name == "child"
        ]

    assert run(main()) == ([False], [True])


def test_running_tasks(run):
    async def main():
        async with anyio.create_task_group() as group:
            for name in "ab":
                group.start_soon(forever, name=name)
            await anyio.wait_all_tasks_blocked()
            names = {info.name for info in anyio.get_running_tasks()}
            group.cancel_scope.cancel()
        left = {info.name for info in anyio.get_running_tasks()}
        return names - left

    assert run(main()) == {"a", "b"}
