"""A task by itself: how it is made, what it tells, how it ends and is reported."""

import asyncio
import contextvars
import gc
import io
import re
import sys
import threading
import types
import warnings
import weakref

import pytest


class Own(BaseException):
    """An exception that is not an Exception."""


async def answer(value=None):
    return value


async def yielding(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)


async def waiting(future):
    return await future


async def failing(exc):
    raise exc


def run_until(loop, *futures):
    """Run turns until all *futures* are done, whatever they end with."""
    for _ in range(100):
        if all(future.done() for future in futures):
            return
        loop.stop()
        loop.run_forever()
    raise AssertionError(f"not done: {futures}")


@pytest.fixture
def like_asyncio(task_class, loop):
    """A function that asserts that an action ends as it does with asyncio's own.

    ``like_asyncio(action)`` calls ``action(loop, task_class)``, and before it
    the same with asyncio's loop and asyncio.Task. What it returns, or the type
    and the text of what it raises, must be equal but for addresses and numbers
    of tasks. Returns the returned value, or the exception.
    """
    oracle = asyncio.SelectorEventLoop()

    def plain(text):
        text = re.sub(r"0x[0-9a-fA-F]+", "0x...", text)
        return re.sub(r"Task-\d+", "Task-N", text)

    def attempt(action, *args):
        try:
            value = action(*args)
        except Exception as exc:
            return exc, ("raised", type(exc), plain(str(exc)))
        return value, ("returned", plain(repr(value)))

    def compare(action):
        _, expected = attempt(action, oracle, asyncio.Task)
        value, actual = attempt(action, loop, task_class)
        assert actual == expected
        return value

    yield compare
    oracle.close()


class TestConstructor:
    def test_kinds(self, task_class, loop):
        task = task_class(answer(), loop=loop)
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        run_until(loop, task)

    def test_coro_as_keyword(self, task_class, loop):
        task = task_class(loop=loop, coro=answer(5))
        assert loop.run_until_complete(task) == 5

    @pytest.mark.parametrize(
        "arguments",
        [((), {}), ((1, 2), {}), ((), {"nonsense": 1}), ((), {"": 1})],
        ids=["none", "loop by position", "unknown keyword", "empty keyword"],
    )
    def test_wrong_arguments(self, task_class, loop, arguments):
        args, kwargs = arguments
        coro = answer()
        if args:
            args = (coro, loop)
        elif kwargs:
            kwargs = {"coro": coro, "loop": loop, **kwargs}
        with pytest.raises(TypeError):
            task_class(*args, **kwargs)
        coro.close()
        assert asyncio.all_tasks(loop) == set()

    @pytest.mark.skipif(sys.version_info >= (3, 12), reason="taken since 3.12")
    def test_eager_start_is_refused(self, task_class, loop):
        coro = answer()
        with pytest.raises(TypeError):
            task_class(coro, loop=loop, eager_start=True)
        coro.close()

    @pytest.mark.parametrize(
        "what",
        [
            lambda loop: None,
            lambda loop: 1,
            lambda loop: answer,
            lambda loop: asyncio.sleep,
            lambda loop: loop.create_future(),
            lambda loop: [],
        ],
        ids=["None", "1", "coroutine function", "function", "future", "list"],
    )
    def test_of_no_coroutine(self, like_asyncio, loop, reported, what):
        contexts = reported(loop)
        exc = like_asyncio(lambda loop, cls: cls(what(loop), loop=loop))
        assert isinstance(exc, TypeError)
        assert str(exc).startswith("a coroutine was expected, got ")
        del exc
        gc.collect()
        assert contexts == []
        assert asyncio.all_tasks(loop) == set()

    def test_of_an_async_generator(self, like_asyncio):
        async def generate():
            yield 1

        exc = like_asyncio(lambda loop, cls: cls(generate(), loop=loop))
        assert isinstance(exc, TypeError)

    @pytest.mark.parametrize("decorate", [lambda f: f, types.coroutine])
    def test_of_a_generator(self, like_asyncio, decorate):
        # A coroutine of old, which asyncio took up to 3.11.
        @decorate
        def generate():
            yield
            return 5

        def run(loop, cls):
            return loop.run_until_complete(cls(generate(), loop=loop))

        value = like_asyncio(run)
        if sys.version_info < (3, 12):
            assert value == 5
        else:
            assert isinstance(value, TypeError)

    @pytest.mark.parametrize("loop", [1, "loop", object()], ids=repr)
    def test_with_no_loop_for_a_loop(self, task_class, loop):
        coro = answer()
        with pytest.raises(AttributeError, match="get_debug"):
            task_class(coro, loop=loop)
        coro.close()

    @pytest.mark.parametrize("keywords", [{}, {"loop": None}], ids=["none", "None"])
    def test_takes_the_running_loop(self, task_class, loop, keywords):
        async def main():
            task = task_class(answer(5), **keywords)
            assert task.get_loop() is loop
            return await task

        assert loop.run_until_complete(main()) == 5

    def test_without_any_loop(self, task_class):
        raised = []

        def in_thread():
            coro = answer()
            try:
                task_class(coro)
            except RuntimeError as exc:
                raised.append(str(exc))
            coro.close()

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        assert len(raised) == 1
        assert "no current event loop" in raised[0]

    def test_on_a_closed_loop(self, task_class, loop):
        loop.close()
        coro = answer()
        with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
            task_class(coro, loop=loop)._log_destroy_pending = False
        coro.close()
        gc.collect()
        assert asyncio.all_tasks(loop) == set()

    def test_of_a_class(self, task_class):
        assert isinstance(task_class[int], types.GenericAlias)
        assert task_class[int].__origin__ is task_class


class TestName:
    def test_default_names_count_up(self, task_class, loop):
        first = task_class(answer(), loop=loop)
        named = task_class(answer(), loop=loop, name="mine")
        none = task_class(answer(), loop=loop, name=None)
        number = int(re.fullmatch(r"Task-(\d+)", first.get_name())[1])
        assert named.get_name() == "mine"
        assert none.get_name() == f"Task-{number + 1}"
        run_until(loop, first, named, none)
        assert first.get_name() == f"Task-{number}"

    @pytest.mark.parametrize("name", [1, 1.5, (), "", [None], ValueError("text")])
    def test_is_made_a_string(self, task_class, loop, name):
        task = task_class(answer(), loop=loop, name=name)
        assert task.get_name() == str(name)
        task.set_name("other")
        assert task.get_name() == "other"
        task.set_name(name)
        assert task.get_name() == str(name)
        task.set_name(None)
        assert task.get_name() == "None"
        run_until(loop, task)

    def test_of_a_string_subclass(self, task_class, loop):
        class Text(str):
            pass

        task = task_class(answer(), loop=loop, name=Text("mine"))
        assert type(task.get_name()) is str
        task.set_name(Text("other"))
        assert type(task.get_name()) is str
        run_until(loop, task)

    def test_without_a_text(self, task_class, loop):
        class Nameless:
            def __str__(self):
                raise LookupError("mine")

        coro = answer()
        with pytest.raises(LookupError, match=r"^mine$"):
            task_class(coro, loop=loop, name=Nameless())._log_destroy_pending = False
        coro.close()
        task = task_class(answer(), loop=loop, name="mine")
        with pytest.raises(LookupError, match=r"^mine$"):
            task.set_name(Nameless())
        assert task.get_name() == "mine"
        run_until(loop, task)
        gc.collect()

    def test_set_name_wants_a_name(self, task_class, loop):
        task = task_class(answer(), loop=loop)
        with pytest.raises(TypeError):
            task.set_name()
        with pytest.raises(TypeError):
            task.set_name("a", "b")
        run_until(loop, task)


class TestContext:
    def test_is_a_copy_of_the_current_one(self, task_class, loop):
        variable = contextvars.ContextVar("variable")
        seen = []

        async def main():
            seen.append(variable.get())
            variable.set("inside")
            await asyncio.sleep(0)
            seen.append(variable.get())

        token = variable.set("outside")
        try:
            task = task_class(main(), loop=loop)
            variable.set("later")
            loop.run_until_complete(task)
            assert variable.get() == "later"
        finally:
            variable.reset(token)
        assert seen == ["outside", "inside"]

    def test_may_be_shared(self, task_class, loop):
        variable = contextvars.ContextVar("variable", default=0)
        context = contextvars.copy_context()

        async def count():
            for _ in range(3):
                variable.set(variable.get() + 1)
                await asyncio.sleep(0)

        tasks = [task_class(count(), loop=loop, context=context) for _ in range(2)]
        run_until(loop, *tasks)
        assert context[variable] == 6
        assert variable.get() == 0

    def test_wake_ups_run_in_it(self, task_class, loop):
        variable = contextvars.ContextVar("variable", default="none")
        context = contextvars.copy_context()
        context.run(variable.set, "mine")
        future = loop.create_future()
        seen = []

        async def main():
            await future
            seen.append(variable.get())
            with pytest.raises(RuntimeError):
                await loop.create_future()
            seen.append(variable.get())

        task = task_class(main(), loop=loop, context=context)
        loop.call_soon(future.set_result, None)
        for _ in range(4):
            loop.stop()
            loop.run_forever()
        task._fut_waiter.set_exception(RuntimeError())
        run_until(loop, task)
        assert seen == ["mine", "mine"]

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
    def test_get_context(self, task_class, loop):
        context = contextvars.copy_context()
        task = task_class(answer(), loop=loop, context=context)
        other = task_class(answer(), loop=loop, context=None)
        assert task.get_context() is context
        assert isinstance(other.get_context(), contextvars.Context)
        assert other.get_context() is other.get_context()
        run_until(loop, task, other)
        assert task.get_context() is context

    @pytest.mark.skipif(sys.version_info < (3, 15), reason="checked since Python 3.15")
    @pytest.mark.parametrize("context", [1, "context", {}], ids=repr)
    def test_of_a_wrong_type(self, like_asyncio, loop, reported, context):
        contexts = reported(loop)
        coro = answer()
        exc = like_asyncio(lambda loop, cls: cls(coro, loop=loop, context=context))
        assert isinstance(exc, TypeError)
        coro.close()
        del exc
        gc.collect()
        assert contexts == []
        assert asyncio.all_tasks(loop) == set()

    def test_done_callbacks_have_their_own(self, task_class, loop):
        variable = contextvars.ContextVar("variable", default="none")
        context = contextvars.copy_context()
        context.run(variable.set, "given")
        seen = []

        async def main():
            variable.set("of the task")

        task = task_class(main(), loop=loop)
        task.add_done_callback(lambda _: seen.append(variable.get()))
        task.add_done_callback(lambda _: seen.append(variable.get()), context=context)
        run_until(loop, task)
        loop.stop()
        loop.run_forever()
        assert seen == ["none", "given"]


class TestEnd:
    @pytest.mark.parametrize("value", [None, 5, (), (1, 2), StopIteration(1)], ids=repr)
    def test_result(self, task_class, loop, value):
        task = task_class(answer(value), loop=loop)
        assert not task.done()
        assert task._state == "PENDING"
        for get in (task.result, task.exception):
            with pytest.raises(asyncio.InvalidStateError):
                get()
        assert loop.run_until_complete(task) is value
        assert (task.done(), task.cancelled(), task.exception()) == (True, False, None)
        assert task.result() is task._result is value
        assert task._state == "FINISHED"

    @pytest.mark.parametrize("kind", [LookupError, Own, GeneratorExit])
    def test_exception(self, task_class, loop, kind):
        exc = kind("mine")
        task = task_class(failing(exc), loop=loop)
        run_until(loop, task)
        assert task.exception() is exc
        assert task._log_traceback is False
        assert not task.cancelled()
        with pytest.raises(kind) as caught:
            task.result()
        assert caught.value is exc

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_exception_that_ends_the_run(self, task_class, loop, kind):
        exc = kind("mine")
        order = []
        task = task_class(failing(exc), loop=loop)
        task.add_done_callback(lambda _: order.append("done"))
        loop.call_soon(order.append, "next")
        with pytest.raises(kind) as caught:
            loop.run_forever()
        assert caught.value is exc
        assert not loop.is_running()
        assert asyncio.current_task(loop) is None
        assert task.done()
        assert task.exception() is exc
        assert order == []
        loop.stop()
        loop.run_forever()
        assert order == ["next", "done"]

    def test_stop_iteration_raised_inside(self, like_asyncio):
        async def main():
            raise StopIteration(5)

        def run(loop, cls):
            return loop.run_until_complete(cls(main(), loop=loop))

        exc = like_asyncio(run)
        assert isinstance(exc, RuntimeError)
        assert isinstance(exc.__cause__, StopIteration)

    def test_cannot_be_set(self, like_asyncio):
        def set_result(loop, cls):
            task = cls(answer(5), loop=loop)
            try:
                task.set_result(1)
            finally:
                assert loop.run_until_complete(task) == 5

        def set_exception(loop, cls):
            task = cls(answer(5), loop=loop)
            try:
                task.set_exception(LookupError())
            finally:
                assert loop.run_until_complete(task) == 5

        for action in (set_result, set_exception):
            assert isinstance(like_asyncio(action), RuntimeError)

    def test_coroutine_is_let_go(self, task_class, loop):
        # Not sooner nor later than asyncio's own does.
        coro = answer(5)
        task = task_class(coro, loop=loop)
        assert task.get_coro() is task._coro is coro
        loop.run_until_complete(task)
        assert task.get_coro() is coro

    def test_steps_take_a_turn_each(self, task_class, loop, turn):
        steps = []

        async def main():
            for number in range(3):
                steps.append(number)
                await asyncio.sleep(0)

        task = task_class(main(), loop=loop)
        for number in range(3):
            turn(loop)
            assert steps == list(range(number + 1))
        assert not task.done()
        turn(loop)
        assert task.done()

    def test_wake_up_is_one_turn_after_the_future(self, task_class, loop, turn):
        future = loop.create_future()
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert task._fut_waiter is future
        loop.call_soon(future.set_result, 5)
        turn(loop)
        assert not task.done()
        turn(loop)
        assert task.result() == 5
        assert task._fut_waiter is None

    def test_done_future_does_not_suspend(self, task_class, loop, turn):
        future = loop.create_future()
        future.set_result(5)
        task = task_class(waiting(future), loop=loop)
        turn(loop)
        assert task.result() == 5


class TestPrivate:
    NAMES = (
        "_asyncio_future_blocking",
        "_callbacks",
        "_cancel_message",
        "_coro",
        "_exception",
        "_fut_waiter",
        "_log_destroy_pending",
        "_log_traceback",
        "_must_cancel",
        "_result",
        "_source_traceback",
        "_state",
    )

    @pytest.mark.parametrize(
        "state", ["made", "waiting", "done", "failed", "cancelled"]
    )
    def test_values(self, like_asyncio, state):
        def look(loop, cls):
            future = loop.create_future()
            task = cls(waiting(future), loop=loop, name="mine")
            assert task._loop is loop
            if state != "made":
                loop.stop()
                loop.run_forever()
            if state == "done":
                future.set_result(5)
            elif state == "failed":
                future.set_exception(LookupError("mine"))
            elif state == "cancelled":
                task.cancel("message")
            loop.stop()
            loop.run_forever()
            loop.stop()
            loop.run_forever()
            values = [(name, repr(getattr(task, name))) for name in self.NAMES]
            future.cancel()
            run_until(loop, task)
            if state == "failed":
                assert isinstance(task.exception(), LookupError)
            return values

        like_asyncio(look)

    @pytest.mark.parametrize("name", [*NAMES, "_loop", "nonsense"])
    @pytest.mark.parametrize("value", [True, False, None, 5, "deleted"], ids=repr)
    def test_which_can_be_set(self, like_asyncio, name, value):
        def change(loop, cls):
            task = cls(yielding(), loop=loop, name="mine")
            try:
                if value == "deleted":
                    delattr(task, name)
                else:
                    setattr(task, name, value)
                seen = getattr(task, name, "none")
                outcome = "set", "the loop" if seen is loop else seen
            except (AttributeError, TypeError, ValueError) as exc:
                outcome = type(exc)
            run_until(loop, task)
            return outcome

        like_asyncio(change)

    def test_attributes_of_ones_own_and_weak_references(self, task_class, loop):
        task = task_class(answer(), loop=loop)
        task.mine = 5
        assert task.mine == 5
        gone = weakref.ref(task)
        run_until(loop, task)
        assert gone() is task
        del task
        gc.collect()
        assert gone() is None

    def test_hash_and_equality_are_identity(self, task_class, loop):
        tasks = [task_class(answer(), loop=loop) for _ in range(2)]
        assert tasks[0] != tasks[1]
        assert len({*tasks, *tasks}) == 2
        run_until(loop, *tasks)


class TestRepr:
    @pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
    @pytest.mark.parametrize("name", ["mine", None, "", "it's"])
    def test_in_every_state(self, like_asyncio, debug, name):
        def collect(loop, cls):
            loop.set_debug(debug)
            seen = []
            # Not by create_future(), in which asyncio's was "created at".
            future = asyncio.Future(loop=loop)

            async def main():
                seen.append(repr(tasks[0]))
                await future
                raise LookupError("mine")

            async def other():
                await asyncio.Future(loop=loop)

            tasks = [cls(main(), loop=loop, name=name) for _ in range(2)]
            tasks.append(cls(other(), loop=loop, name=name))
            tasks.append(cls(answer("r" * 5), loop=loop, name=name))
            tasks[0].add_done_callback(run_until)
            seen += map(repr, tasks)
            loop.stop()
            loop.run_forever()
            seen += map(repr, tasks)
            tasks[1].cancel()
            seen.append(repr(tasks[1]))
            tasks[2].cancel("message")
            loop.stop()
            loop.run_forever()
            future.cancel()
            run_until(loop, *tasks)
            seen += map(repr, tasks)
            failed = cls(failing(LookupError("mine")), loop=loop, name=name)
            run_until(loop, failed)
            seen.append(repr(failed))
            failed.exception()
            return seen

        like_asyncio(collect)

    def test_of_chains_and_callbacks(self, like_asyncio):
        def collect(loop, cls):
            future = loop.create_future()
            inner = cls(waiting(future), loop=loop, name="inner")
            outer = cls(waiting(inner), loop=loop, name="outer")
            for _ in range(3):
                loop.stop()
                loop.run_forever()
            seen = [repr(future), repr(inner), repr(outer)]
            for count in range(3):
                outer.add_done_callback(run_until)
                seen.append((count, repr(outer)))
            outer.remove_done_callback(run_until)
            future.set_result(5)
            seen += [repr(future), repr(inner), repr(loop._ready[0])]
            run_until(loop, inner, outer)
            return seen

        like_asyncio(collect)

    def test_of_recursion(self, like_asyncio):
        class Loud:
            def __repr__(self):
                return f"<{self.task!r}>"

        def collect(loop, cls):
            value = Loud()
            value.task = task = cls(answer(value), loop=loop, name="mine")
            run_until(loop, task)
            seen = repr(task)
            del value.task
            return seen

        like_asyncio(collect)


class TestStack:
    def frames(self, task, **kwargs):
        return [frame.f_code.co_name for frame in task.get_stack(**kwargs)]

    def test_before_during_and_after(self, task_class, loop, turn):
        async def main():
            inside.extend(self.frames(task))
            newest.extend(self.frames(task, limit=1))
            await yielding()

        # The frames of whoever runs the loop come first.
        inside, newest = [], []
        task = task_class(main(), loop=loop)
        assert self.frames(task) == ["main"]
        turn(loop)
        assert inside[-1] == "main"
        assert newest == ["main"]
        # The outermost only, though it is the inner that is suspended.
        assert self.frames(task) == ["main"]
        run_until(loop, task)
        assert self.frames(task) == []
        assert task.get_stack(limit=1) == []

    def test_of_a_failed_task(self, task_class, loop):
        async def inner():
            raise LookupError("mine")

        async def outer():
            await inner()

        task = task_class(outer(), loop=loop)
        run_until(loop, task)
        assert self.frames(task) == ["outer", "inner"]
        assert self.frames(task, limit=1) == ["outer"]
        assert self.frames(task, limit=5) == ["outer", "inner"]
        with pytest.raises(TypeError):
            task.get_stack(1)
        assert isinstance(task.exception(), LookupError)

    @pytest.mark.parametrize("limit", [None, 0, 1, 10])
    def test_print(self, like_asyncio, limit):
        def show(loop, cls):
            out = io.StringIO()
            future = loop.create_future()
            tasks = [
                cls(waiting(future), loop=loop, name="waiting"),
                cls(failing(LookupError("mine")), loop=loop, name="failed"),
                cls(answer(5), loop=loop, name="finished"),
            ]
            for _ in range(2):
                for task in tasks:
                    assert task.print_stack(limit=limit, file=out) is None
                loop.stop()
                loop.run_forever()
            assert isinstance(tasks[1].exception(), LookupError)
            future.set_result(None)
            run_until(loop, *tasks)
            return out.getvalue()

        like_asyncio(show)

    def test_print_without_a_file(self, like_asyncio, capsys):
        def show(loop, cls):
            task = cls(answer(), loop=loop, name="mine")
            task.print_stack()
            run_until(loop, task)
            task.print_stack()
            return capsys.readouterr()

        assert "Stack for <Task pending name='mine'" in "".join(like_asyncio(show))


class Never:
    """A future that keeps no callback, so that nothing holds who waits for it."""

    _asyncio_future_blocking = False

    def __init__(self, loop):
        self.loop = loop

    def get_loop(self):
        return self.loop

    def add_done_callback(self, callback, *, context=None):
        """Forget it."""

    def cancel(self, msg=None):
        return False

    def __await__(self):
        self._asyncio_future_blocking = True
        yield self


class TestReports:
    @pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
    @pytest.mark.parametrize("kept", [False, True], ids=["dropped", "kept"])
    def test_forgotten_task(self, task_class, loop, reported, turn, debug, kept):
        contexts = reported(loop)
        loop.set_debug(debug)
        task = task_class(waiting(Never(loop)), loop=loop)
        turn(loop)
        gone, identity = weakref.ref(task), id(task)
        del task
        (context,) = contexts
        assert id(context["task"]) == identity
        assert context["message"] == "Task was destroyed but it is pending!"
        if debug:
            assert context["source_traceback"][-1].name == "test_forgotten_task"
        assert set(context) - {"source_traceback"} == {"task", "message"}
        assert ("source_traceback" in context) is debug
        # The report brought it back to life, which it may lose only once.
        if kept:
            assert repr(context["task"]).startswith("<Task pending ")
        del context
        contexts.clear()
        assert contexts == []
        assert gone() is None

    def test_forgotten_cycle(self, task_class, loop, reported, turn):
        contexts = reported(loop)

        async def main():
            await loop.create_future()

        tasks = [task_class(main(), loop=loop, name=str(n)) for n in range(3)]
        turn(loop)
        del tasks
        gc.collect()
        assert sorted(each["task"].get_name() for each in contexts) == ["0", "1", "2"]
        contexts.clear()
        gc.collect()
        assert contexts == []

    def test_no_report_if_told_so(self, task_class, loop, reported, turn):
        contexts = reported(loop)
        task = task_class(waiting(Never(loop)), loop=loop)
        assert task._log_destroy_pending is True
        task._log_destroy_pending = False
        assert task._log_destroy_pending is False
        turn(loop)
        gone = weakref.ref(task)
        del task
        assert gone() is None
        assert contexts == []

    def test_never_started(self, task_class, loop, reported, turn):
        contexts = reported(loop)
        task = task_class(answer(), loop=loop, name="mine")
        del task
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop.close()
            gc.collect()
            assert [each["task"].get_name() for each in contexts] == ["mine"]
            contexts.clear()
            gc.collect()
        assert ["never awaited" in str(each.message) for each in caught] == [True]

    def test_handler_that_fails(self, task_class, loop, turn, caplog):
        def handler(loop, context):
            raise LookupError("mine")

        loop.set_exception_handler(handler)
        task = task_class(waiting(Never(loop)), loop=loop)
        turn(loop)
        del task
        assert "Unhandled error in exception handler" in caplog.text

    def test_report_during_an_exception(self, task_class, loop, reported, turn):
        contexts = reported(loop)
        task = task_class(waiting(Never(loop)), loop=loop)
        turn(loop)
        with pytest.raises(LookupError, match=r"^mine$"):
            try:
                raise LookupError("mine")
            finally:
                del task
        assert len(contexts) == 1
        contexts.clear()

    @pytest.mark.parametrize("retrieved", [False, True], ids=["not retrieved", "seen"])
    def test_exception_never_retrieved(
        self, task_class, loop, reported, turn, retrieved
    ):
        contexts = reported(loop)
        task = task_class(failing(LookupError("mine")), loop=loop)
        turn(loop)
        assert task._log_traceback is True
        if retrieved:
            assert str(task.exception()) == "mine"
        identity = id(task)
        del task
        gc.collect()
        if retrieved:
            assert contexts == []
            return
        (context,) = contexts
        assert set(context) == {"message", "exception", "future"}
        assert context["message"] == "Task exception was never retrieved"
        assert str(context["exception"]) == "mine"
        assert id(context["future"]) == identity
        del context
        contexts.clear()


class TestSubclass:
    def test_init_and_methods(self, task_class, loop):
        calls = []

        class Mine(task_class):
            def __init__(self, coro, *, tag, **kwargs):
                super().__init__(coro, **kwargs)
                self.tag = tag

            def cancel(self, msg=None):
                calls.append(("cancel", msg))
                return super().cancel(msg)

            def get_name(self):
                return f"{self.tag}-{super().get_name()}"

        task = Mine(yielding(5), tag="tag", loop=loop, name="name")
        assert task.get_name() == "tag-name"
        assert "tag-name" in repr(task)
        assert repr(task).startswith("<Mine pending ")
        task.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert calls == [("cancel", "message")]

    def test_what_a_waiter_calls(self, task_class, loop, turn):
        calls = []

        class Mine(task_class):
            def __record(name):
                def method(self, *args, **kwargs):
                    calls.append(name)
                    return getattr(super(), name)(*args, **kwargs)

                return method

            get_loop = __record("get_loop")
            add_done_callback = __record("add_done_callback")
            cancel = __record("cancel")
            result = __record("result")

        inner = Mine(yielding(3), loop=loop)
        outer = task_class(waiting(inner), loop=loop)
        turn(loop, 2)
        assert calls == ["get_loop", "add_done_callback"]
        outer.cancel("message")
        assert calls[2:] == ["cancel"]
        run_until(loop, outer)
        assert inner.cancelled() and outer.cancelled()
        # By the wake-up and, unless the await ended in it, by the await.
        assert set(calls[3:]) == {"result"}

    def test_await_of_ones_own(self, task_class, loop):
        class Mine(task_class):
            def __await__(self):
                yield from super().__await__()
                return "mine"

        async def main():
            return await Mine(answer(5))

        assert loop.run_until_complete(main()) == "mine"

    def test_finalizer(self, task_class, loop, reported, turn):
        contexts = reported(loop)
        finalized = []

        class Mine(task_class):
            def __del__(self):
                finalized.append(self.get_name())
                super().__del__()

        task = Mine(waiting(Never(loop)), loop=loop, name="mine")
        turn(loop)
        del task
        assert finalized == ["mine"]
        assert [each["message"] for each in contexts] == [
            "Task was destroyed but it is pending!"
        ]
        contexts.clear()

    def test_slots_and_mixins(self, task_class, loop):
        class Mixin:
            def hello(self):
                return "hello"

        class Mine(Mixin, task_class):
            __slots__ = ("slot",)

        task = Mine(answer(5), loop=loop)
        task.slot = task
        assert task.hello() == "hello"
        assert loop.run_until_complete(task) == 5
        gone = weakref.ref(task)
        del task
        gc.collect()
        assert gone() is None
