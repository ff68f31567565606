"""call_soon: one FIFO, each callback once, arguments, contexts, bad input."""

import asyncio
import contextvars
import weakref

import pytest

VARIABLE = contextvars.ContextVar("variable", default="unset")


def test_fifo_and_exactly_once(loop, turn):
    ran = []
    for number in range(1000):
        loop.call_soon(ran.append, number)
    turn(loop)
    assert ran == list(range(1000))
    turn(loop, 2)
    assert len(ran) == 1000


def test_order_is_kept_while_the_queue_wraps(loop, turn):
    # Three in and one out at first, then only out: a ring buffer must grow
    # while its contents lie around its end.
    ran = []
    counter = iter(range(10_000))

    def produce(rounds):
        ran.append(next(counter))
        if rounds:
            for _ in range(3):
                loop.call_soon(produce, rounds - 1)

    loop.call_soon(produce, 7)
    turn(loop, 8)
    assert ran == list(range(sum(3**depth for depth in range(8))))


def test_growth_inside_a_batch(loop, turn):
    ran = []

    def burst(size):
        for number in range(size):
            loop.call_soon(ran.append, (size, number))

    sizes = [1, 2, 3, 5, 8, 13, 21, 100, 1000]
    for size in sizes:
        loop.call_soon(burst, size)
    turn(loop, 2)
    assert ran == [(size, number) for size in sizes for number in range(size)]


def test_what_a_batch_schedules_runs_in_the_next(loop, turn):
    ran = []

    def again(depth):
        ran.append(depth)
        loop.call_soon(again, depth + 1)

    loop.call_soon(again, 0)
    turn(loop)
    assert ran == [0]
    turn(loop, 3)
    assert ran == [0, 1, 2, 3]


def test_one_queue_with_call_soon_threadsafe(loop, turn):
    ran = []
    for number in range(0, 300, 3):
        loop.call_soon(ran.append, number)
        loop.call_soon_threadsafe(ran.append, number + 1)
        loop.call_soon(ran.append, number + 2)
    turn(loop)
    assert ran == list(range(300))


def test_one_queue_with_call_soon_threadsafe_while_running(loop):
    ran = []

    def fill():
        for number in range(0, 300, 3):
            loop.call_soon_threadsafe(ran.append, number)
            loop.call_soon(ran.append, number + 1)
            loop.call_soon_threadsafe(ran.append, number + 2)
        loop.call_soon(loop.stop)

    loop.call_soon(fill)
    loop.run_forever()
    assert ran == list(range(300))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 40])
def test_arguments(loop, turn, count):
    seen = []
    loop.call_soon(lambda *args: seen.append(args), *range(count))
    turn(loop)
    assert seen == [tuple(range(count))]


def test_arguments_are_released_after_the_call(loop, turn):
    class Marker:
        pass

    gone = []
    marker = Marker()
    finalizer = weakref.finalize(marker, gone.append, True)
    handle = loop.call_soon(lambda _: None, marker)
    del marker
    assert finalizer.alive
    turn(loop)
    del handle
    assert gone == [True]


@pytest.mark.parametrize(
    "callback",
    [
        [].append,
        "".join,
        lambda *args: None,
        type("Callable", (), {"__call__": lambda self, *args: None})(),
        str,
    ],
    ids=["builtin", "method", "function", "instance", "type"],
)
def test_kinds_of_callable(loop, turn, reported, callback):
    contexts = reported(loop)
    loop.call_soon(callback, ())
    turn(loop)
    assert contexts == []


def test_callback_as_keyword(loop, turn):
    ran = []
    loop.call_soon(callback=lambda: ran.append(1))
    turn(loop)
    assert ran == [1]


@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
def test_wrong_signature(loop, name):
    method = getattr(loop, name)
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        method()
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        method(print, nonsense=1)
    with pytest.raises(TypeError, match="multiple values for argument 'callback'"):
        method(print, callback=print)


@pytest.mark.parametrize("name", ["call_soon", "call_soon_threadsafe"])
def test_closed_loop(loop, name):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        getattr(loop, name)(print)


def test_current_context_is_copied(loop, turn):
    seen = []

    def change():
        seen.append(VARIABLE.get())
        VARIABLE.set("changed inside")

    def schedule():
        VARIABLE.set("at scheduling")
        loop.call_soon(change)
        VARIABLE.set("after scheduling")
        loop.call_soon(lambda: seen.append(VARIABLE.get()))

    context = contextvars.copy_context()
    context.run(schedule)
    turn(loop)
    assert seen == ["at scheduling", "after scheduling"]
    assert context[VARIABLE] == "after scheduling"
    assert VARIABLE.get() == "unset"


def test_given_context_is_entered(loop, turn):
    context = contextvars.copy_context()
    handle = loop.call_soon(VARIABLE.set, "inside", context=context)
    assert handle._context is context
    turn(loop)
    assert context[VARIABLE] == "inside"
    assert VARIABLE.get() == "unset"


def test_given_context_none_is_the_current(loop, turn):
    seen = []

    def schedule():
        VARIABLE.set("current")
        loop.call_soon(lambda: seen.append(VARIABLE.get()), context=None)

    contextvars.copy_context().run(schedule)
    turn(loop)
    assert seen == ["current"]


def test_context_is_left_after_an_exception(loop, turn, reported):
    contexts = reported(loop)
    context = contextvars.copy_context()

    def fail():
        VARIABLE.set("failed")
        raise LookupError

    loop.call_soon(fail, context=context)
    loop.call_soon(VARIABLE.set, "then", context=context)
    turn(loop)
    assert [type(each["exception"]) for each in contexts] == [LookupError]
    assert context[VARIABLE] == "then"


def test_context_entered_already(loop, turn, caplog):
    ran = []
    context = contextvars.copy_context()
    loop.call_soon(ran.append, 1, context=context)
    loop.call_soon(ran.append, 2)
    context.run(turn, loop)
    assert ran == [2]
    assert "is already entered" in caplog.text


def test_context_without_run(same_outcome, turn, reported):
    def run(loop):
        contexts = reported(loop)
        loop.call_soon(print, context=5)
        turn(loop)
        return [(type(e["exception"]), str(e["exception"])) for e in contexts]

    assert [kind for kind, _ in same_outcome(run)] == [AttributeError]


def test_not_callable_is_reported_when_it_runs(loop, turn, reported):
    contexts = reported(loop)
    loop.call_soon(5)
    turn(loop)
    (context,) = contexts
    assert isinstance(context["exception"], TypeError)
    assert context["message"] == "Exception in callback 5()"


def test_cancelled_before_it_runs(loop, turn):
    ran = []
    handles = [loop.call_soon(ran.append, number) for number in range(10)]
    for handle in handles[::2]:
        handle.cancel()
    turn(loop)
    assert ran == [1, 3, 5, 7, 9]


def test_cancelled_by_an_earlier_callback_of_the_batch(loop, turn):
    ran = []
    loop.call_soon(lambda: second.cancel())
    second = loop.call_soon(ran.append, "second")
    loop.call_soon(ran.append, "third")
    turn(loop)
    assert ran == ["third"]


def test_order_with_tasks_and_futures(loop):
    ran = []

    async def task(name):
        ran.append(f"{name} starts")
        await asyncio.sleep(0)
        ran.append(f"{name} ends")

    async def main():
        first = loop.create_task(task("a"))
        loop.call_soon(ran.append, "between")
        second = loop.create_task(task("b"))
        future = loop.create_future()
        future.add_done_callback(lambda _: ran.append("future"))
        future.set_result(None)
        await asyncio.gather(first, second)

    loop.run_until_complete(main())
    assert ran == ["a starts", "between", "b starts", "future", "a ends", "b ends"]


@pytest.mark.parametrize("count", range(9))
def test_number_of_arguments(loop, turn, count):
    args = tuple(map(str, range(count)))
    ran = []
    handle = loop.call_soon(lambda *args: ran.append(args), *args)
    assert handle._args == args
    loop.call_soon(print, *args, "never").cancel()
    loop.call_later(0, lambda *args: ran.append(args), *args)
    turn(loop)
    assert ran == [args, args]


def test_cancelled_by_itself_with_many_arguments(loop, turn):
    seen = []

    def callback(*args):
        handle.cancel()
        seen.append(args)

    handle = loop.call_soon(callback, 1, 2, [3], [4], [5])
    turn(loop)
    assert seen == [(1, 2, [3], [4], [5])]
    assert handle._args is None
