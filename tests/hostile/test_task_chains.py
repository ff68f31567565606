"""Tasks that wait for tasks: in long chains, and in circles."""

import pytest

import evloop

LENGTH = 20_000


def chain(loop, length):
    """Tasks that each wait for the next one, and the future the last one awaits."""
    end = loop.create_future()
    awaited = end
    tasks = []

    async def wait_for(awaitable):
        return await awaitable

    for _ in range(length):
        awaited = evloop.Task(wait_for(awaited), loop=loop)
        tasks.append(awaited)
    return tasks, end


def test_cancel_of_a_long_chain(evloop_loop, turn):
    tasks, end = chain(evloop_loop, LENGTH)
    turn(evloop_loop)
    assert tasks[-1].cancel("all of you")
    assert end.cancelled()
    assert {task.cancelling() for task in tasks} == {1}
    turn(evloop_loop, LENGTH + 2)
    assert all(task.cancelled() for task in tasks)


def test_cancel_of_a_chain_whose_end_is_done(evloop_loop, turn):
    tasks, end = chain(evloop_loop, 3)
    turn(evloop_loop)
    end.set_result("late")
    assert tasks[-1].cancel("too late for the future")
    assert [task._must_cancel for task in tasks] == [True, False, False]
    turn(evloop_loop, 5)
    assert all(task.cancelled() for task in tasks)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("before", [0, 1, 5])
def test_cancel_of_tasks_in_a_circle(loop, turn, task_class, length, before):
    """Tasks of a circle, and some that wait for it, cancelled at the far end."""
    tasks = []

    async def wait_for(index):
        return await tasks[index]

    for index in range(length + before):
        after = index + 1 if index < length - 1 else 0
        if index >= length:
            after = index - 1
        tasks.append(task_class(wait_for(after), loop=loop))
    turn(loop)
    if length == 1:
        # A task that awaits itself is told so.
        turn(loop, before + 3)
        assert all(isinstance(task.exception(), RuntimeError) for task in tasks)
        return
    with pytest.raises(RecursionError):
        tasks[-1].cancel()
    assert all(task.cancelling() > 0 for task in tasks)
    for task in tasks:
        task._log_destroy_pending = False  # they are never done
    del task
    tasks.clear()
