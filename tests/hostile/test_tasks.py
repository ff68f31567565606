"""Tasks whose coroutine, waiter, loop or owner does what it must not.

Where the outcome is asyncio's to define, it must be the same as with
asyncio.Task on asyncio's loop; elsewhere what counts is that the process and
the loop survive.
"""

import asyncio
import collections.abc
import contextlib
import gc
import re
import subprocess
import sys
import threading
import types
import warnings
import weakref

import pytest

import evloop

# Anything that Python code may raise, but no exit and no crash.
SURVIVED = contextlib.suppress(Exception)

# What asyncio's own classes crash on is tried on others only.
native_only = pytest.mark.skipif(
    evloop.Task is asyncio.Task, reason="evloop.Task is not native in this build"
)


class Own(BaseException):
    """An exception that is not an Exception."""


async def answer(value=None):
    return value


async def yielding(turns=1):
    for _ in range(turns):
        await asyncio.sleep(0)
    return "ended"


async def waiting(future):
    return await future


@types.coroutine
def give(value):
    return (yield value)


def plain(value):
    """Return a text without addresses, numbers of tasks and the loop's class."""
    text = re.sub(r"0x[0-9a-fA-F]+", "0x...", str(value))
    text = text.replace("_UnixSelectorEventLoop", "EventLoop")
    return re.sub(r"Task-\d+", "Task-N", text)


def outcome(task):
    if not task.done():
        return "pending"
    if task.cancelled():
        return "cancelled"
    exc = task.exception()
    return ("result", plain(task.result())) if exc is None else describe(exc)


def describe(exc):
    return type(exc).__name__, plain(exc)


@pytest.fixture
def like_asyncio(task_class, loop):
    """A function that asserts that a scenario goes as it does with asyncio's own.

    ``like_asyncio(scenario)`` calls ``scenario(loop, task_class, log)``, and
    before it the same with asyncio's loop and asyncio.Task. The logs must be
    equal; reports to the exception handler get into them by themselves.
    """
    oracle = asyncio.SelectorEventLoop()

    def attempt(scenario, loop, cls):
        log = []

        def report(_, context):
            exc = context.get("exception")
            # Of a callback the message gives the text, which is a private name.
            message = re.sub(
                r"(?s)^(Exception in callback) .*", r"\1", context["message"]
            )
            log.append(("reported", message, exc and describe(exc)))

        loop.set_exception_handler(report)
        scenario(loop, cls, log)
        gc.collect()
        return log

    def compare(scenario):
        expected = attempt(scenario, oracle, asyncio.Task)
        assert attempt(scenario, loop, task_class) == expected
        return expected

    yield compare
    oracle.close()


def turns(loop, count, log):
    """Run turns of a loop; what comes out of them goes to the log."""
    for _ in range(count):
        loop.stop()
        try:
            loop.run_forever()
        except BaseException as exc:
            log.append(("out of the loop", describe(exc)))


def forget(task):
    """Let a task that will never end go without a word."""
    task._log_destroy_pending = False


def call(callback, args, log):
    try:
        log.append(("called", callback(*args)))
    except BaseException as exc:
        log.append(("call raised", describe(exc)))


class TestSteps:
    def test_its_own_step_within_a_step(self, like_asyncio):
        def scenario(loop, cls, log):
            steps = []

            async def main():
                # The callback that runs at this moment, and the next one.
                call(steps[0], (), log)
                await asyncio.sleep(0)
                call(steps[0], (), log)
                return "ended"

            task = cls(main(), loop=loop, name="mine")
            steps.append(loop._ready[0]._callback)
            turns(loop, 3, log)
            log.append(outcome(task))
            call(steps[0], (), log)
            log.append(outcome(task))

        log = like_asyncio(scenario)
        assert log[-1] == ("result", "ended")

    def test_steps_too_many(self, like_asyncio):
        def scenario(loop, cls, log):
            task = cls(yielding(3), loop=loop, name="mine")
            step = loop._ready[0]._callback
            # Each runs a step and schedules one more.
            for _ in range(2):
                loop.call_soon(call, step, (), log)
            turns(loop, 4, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    @pytest.mark.parametrize("args", [(), (None,), (5,), (1, 2), ([], [])], ids=repr)
    @pytest.mark.parametrize("which", ["step", "wake-up"])
    def test_step_and_wake_up_with_wrong_arguments(self, task_class, loop, which, args):
        loop.set_exception_handler(lambda *_: None)
        future = loop.create_future()
        task = task_class(waiting(future), loop=loop)
        callbacks = {"step": loop._ready[0]._callback}
        turns(loop, 1, [])
        callbacks["wake-up"] = future._callbacks[0][0]

        def misuse():
            with SURVIVED:
                callbacks[which](*args)

        loop.call_soon(misuse)
        turns(loop, 2, [])
        future.cancel()
        turns(loop, 2, [])
        assert task.done()
        task.cancelled() or task.exception()

    def test_wake_up_twice(self, like_asyncio):
        def scenario(loop, cls, log):
            futures = [loop.create_future() for _ in range(2)]

            async def main():
                log.append(await futures[0])
                log.append(await futures[1])

            task = cls(main(), loop=loop, name="mine")
            turns(loop, 1, log)
            wake_up = futures[0]._callbacks[0][0]
            futures[0].set_result("first")
            loop.call_soon(call, wake_up, (futures[0],), log)
            turns(loop, 2, log)
            futures[1].set_result("second")
            turns(loop, 2, log)
            log.append(outcome(task))
            call(wake_up, (futures[0],), log)

        like_asyncio(scenario)

    def test_step_after_the_loop_is_closed(self, like_asyncio, task_class, new_loop):
        def scenario(_, cls, log):
            loop = asyncio.SelectorEventLoop()
            if cls is task_class:
                loop.close()
                loop = new_loop()
            task = cls(yielding(), loop=loop, name="mine")
            step = loop._ready[0]._callback
            loop.close()
            asyncio._set_running_loop(loop)
            try:
                call(step, (), log)
                log.append(outcome(task))
                call(step, (), log)
            finally:
                asyncio._set_running_loop(None)
            log.append(outcome(task))

        like_asyncio(scenario)

    def test_loop_closed_within_a_step(self, like_asyncio):
        def scenario(loop, cls, log):
            async def main():
                call(loop.close, (), log)
                await asyncio.sleep(0)
                return "ended"

            task = cls(main(), loop=loop, name="mine")
            turns(loop, 2, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    @pytest.mark.parametrize("kind", [LookupError, Own, KeyboardInterrupt])
    @pytest.mark.parametrize("at", range(3))
    def test_call_soon_that_raises(self, like_asyncio, kind, at):
        def scenario(loop, cls, log):
            schedule, count = loop.call_soon, iter(range(10))

            def call_soon(*args, **kwargs):
                if next(count) == at:
                    raise kind("mine")
                return schedule(*args, **kwargs)

            loop.call_soon = call_soon
            coro = yielding()
            task = None
            try:
                task = cls(coro, loop=loop, name="mine")
                task.add_done_callback(lambda _: log.append("callback"))
            except BaseException as exc:
                log.append(("not made", describe(exc)))
            for _ in range(4):
                turns(loop, 1, log)
                if task is not None:
                    log.append(outcome(task))
            del loop.call_soon
            if task is not None:
                forget(task)
            coro.close()

        like_asyncio(scenario)


class TestCoroutines:
    @pytest.mark.parametrize("started", [False, True])
    @pytest.mark.parametrize("method", ["close", "throw", "send"])
    def test_driven_by_others(self, like_asyncio, started, method):
        def scenario(loop, cls, log):
            coro = yielding(3)
            task = cls(coro, loop=loop, name="mine")
            if started:
                turns(loop, 1, log)
            args = {"close": (), "throw": (LookupError("mine"),), "send": (None,)}
            call(getattr(coro, method), args[method], log)
            turns(loop, 5, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    def test_exhausted(self, like_asyncio):
        def scenario(loop, cls, log):
            coro = answer()
            with contextlib.suppress(StopIteration):
                coro.send(None)
            task = cls(coro, loop=loop, name="mine")
            turns(loop, 1, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    def test_of_two_tasks(self, like_asyncio):
        def scenario(loop, cls, log):
            coro = yielding(4)
            tasks = [cls(coro, loop=loop, name=str(n)) for n in range(2)]
            turns(loop, 5, log)
            log.extend(map(outcome, tasks))

        like_asyncio(scenario)

    def test_running_already(self, like_asyncio):
        def scenario(loop, cls, log):
            async def main():
                other = cls(coro, loop=loop, name="other")
                step = loop._ready.pop()._callback
                asyncio._leave_task(loop, task)
                call(step, (), log)
                asyncio._enter_task(loop, task)
                log.append(outcome(other))

            coro = main()
            task = cls(coro, loop=loop, name="mine")
            turns(loop, 2, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    @pytest.mark.parametrize("what", ["close", "throw", "send"])
    def test_drives_itself(self, like_asyncio, what):
        def scenario(loop, cls, log):
            async def main():
                coro = task.get_coro()
                args = {"close": (), "throw": (LookupError(),), "send": (None,)}
                call(getattr(coro, what), args[what], log)
                await asyncio.sleep(0)

            task = cls(main(), loop=loop, name="mine")
            turns(loop, 2, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    def test_that_ignores_its_close(self, like_asyncio):
        def scenario(loop, cls, log):
            async def main():
                while True:
                    try:
                        await loop.create_future()
                    except BaseException as exc:
                        log.append(describe(exc))
                        if isinstance(exc, GeneratorExit):
                            return

            task = cls(main(), loop=loop, name="mine")
            turns(loop, 1, log)
            for _ in range(3):
                task.cancel()
                turns(loop, 1, log)
            call(task.get_coro().close, (), log)
            forget(task)

        like_asyncio(scenario)

    def test_that_drops_its_task(self, task_class, loop, turn):
        # The loop's reference to what it steps is the only one left.
        class Dropping(collections.abc.Coroutine):
            def send(self, value):
                tasks.clear()
                gc.collect()
                if not self.sent:
                    self.sent = True
                    return None
                raise StopIteration

            def throw(self, *args):
                raise AssertionError("thrown")

            def close(self):
                """Nothing to close."""

            def __await__(self):
                raise AssertionError("awaited")

        coro = Dropping()
        coro.sent = False
        tasks = [task_class(coro, loop=loop)]
        gone = weakref.ref(tasks[0])
        turn(loop, 3)
        gc.collect()
        assert gone() is None

    @pytest.mark.parametrize("name", ["send", "throw"])
    def test_whose_methods_are_not_there(self, like_asyncio, name):
        class Odd(collections.abc.Coroutine):
            send = throw = close = __await__ = None

        def scenario(loop, cls, log):
            task = cls(Odd(), loop=loop, name="mine")
            if name == "throw":
                task.cancel()
            turns(loop, 2, log)
            if task.done():
                log.append(type(task.exception()))
            forget(task)

        like_asyncio(scenario)

    @pytest.mark.parametrize("kind", [LookupError, AttributeError, Own])
    def test_whose_methods_raise_when_looked_up(self, like_asyncio, kind):
        class Odd(collections.abc.Coroutine):
            close = __await__ = throw = None

            @property
            def send(self):
                raise kind("mine")

        def scenario(loop, cls, log):
            task = cls(Odd(), loop=loop, name="mine")
            turns(loop, 2, log)
            log.append(outcome(task))
            forget(task)

        like_asyncio(scenario)


class Waiter:
    """A future of which one thing goes wrong, the way a test wants."""

    def __init__(self, loop, wrong, act):
        self.loop = loop
        self.wrong = wrong
        self.act = act
        self.callbacks = []
        self.blocking = True

    def perform(self, name, value):
        return self.act() if name == self.wrong else value

    @property
    def _asyncio_future_blocking(self):
        return self.perform("blocking", self.blocking)

    @_asyncio_future_blocking.setter
    def _asyncio_future_blocking(self, value):
        self.blocking = self.perform("unblocking", value)

    def get_loop(self):
        return self.perform("get_loop", self.loop)

    def add_done_callback(self, callback, *, context):
        self.callbacks.append(callback)
        return self.perform("add_done_callback", None)

    def result(self):
        return self.perform("result", None)

    def cancel(self, msg=None):
        return self.perform("cancel", False)

    def __repr__(self):
        return self.perform("repr", "<Waiter>")

    def __await__(self):
        yield self


class Forgetful(Waiter):
    """One that calls nobody back, and so keeps nobody alive."""

    def add_done_callback(self, callback, *, context):
        """Forget it."""


PLACES = [
    "blocking",
    "unblocking",
    "get_loop",
    "add_done_callback",
    "result",
    "cancel",
    "repr",
]


def raising(kind):
    def act():
        raise kind("mine")

    return act


class TestWaiters:
    def go(self, log, loop, cls, waiter, cancel):
        async def main():
            if cancel == "before":
                task.cancel()
            try:
                await give(waiter)
            except BaseException as exc:
                log.append(("thrown in", describe(exc)))
                raise
            return "ended"

        task = cls(main(), loop=loop, name="mine")
        turns(loop, 1, log)
        if cancel == "after":
            call(task.cancel, (), log)
        log.append((task._must_cancel, task._fut_waiter is waiter, outcome(task)))
        for callback in waiter.callbacks:
            loop.call_soon(callback, waiter)
        turns(loop, 2, log)
        if task.done():
            log.append(outcome(task))
        forget(task)

    @pytest.mark.parametrize("cancel", ["never", "before", "after"])
    @pytest.mark.parametrize(
        "kind", [LookupError, AttributeError, Own, KeyboardInterrupt, StopIteration]
    )
    @pytest.mark.parametrize("wrong", PLACES)
    def test_that_raises(self, like_asyncio, wrong, kind, cancel):
        def scenario(loop, cls, log):
            self.go(log, loop, cls, Waiter(loop, wrong, raising(kind)), cancel)

        like_asyncio(scenario)

    @pytest.mark.parametrize("cancel", ["never", "before", "after"])
    @pytest.mark.parametrize("value", [None, 5, "text", (), object], ids=repr)
    @pytest.mark.parametrize("wrong", PLACES[:-1])
    def test_that_answers_nonsense(self, like_asyncio, wrong, value, cancel):
        def scenario(loop, cls, log):
            self.go(log, loop, cls, Waiter(loop, wrong, lambda: value), cancel)

        like_asyncio(scenario)

    @pytest.mark.parametrize("cancel", ["never", "before", "after"])
    def test_whose_answer_has_no_truth(self, like_asyncio, cancel):
        class Undecided:
            def __bool__(self):
                raise LookupError("mine")

        for wrong in ("blocking", "cancel"):

            def scenario(loop, cls, log, wrong=wrong):
                self.go(log, loop, cls, Waiter(loop, wrong, Undecided), cancel)

            like_asyncio(scenario)

    def test_that_wakes_at_once(self, like_asyncio):
        class Hasty(Waiter):
            def add_done_callback(self, callback, *, context):
                callback(self)

        def scenario(loop, cls, log):
            self.go(log, loop, cls, Hasty(loop, "", None), "never")

        like_asyncio(scenario)

    def test_that_cancels_its_task(self, like_asyncio):
        for wrong in PLACES:

            def scenario(loop, cls, log, wrong=wrong):
                def act():
                    for task in asyncio.all_tasks(loop):
                        if depth:
                            continue
                        depth.append(1)
                        log.append(("cancel", task.cancel()))
                        depth.pop()
                    return {"get_loop": loop, "repr": "text"}.get(wrong, False)

                depth = []
                self.go(log, loop, cls, Waiter(loop, wrong, act), "after")

            like_asyncio(scenario)

    def test_that_collects_garbage(self, like_asyncio):
        for wrong in PLACES:

            def scenario(loop, cls, log, wrong=wrong):
                def act():
                    gc.collect()
                    return {"get_loop": loop, "repr": "text"}.get(wrong, True)

                self.go(log, loop, cls, Waiter(loop, wrong, act), "after")

            like_asyncio(scenario)

    @pytest.mark.parametrize("name", ["get_loop", "add_done_callback", "cancel"])
    def test_that_lacks_a_method(self, like_asyncio, name):
        kept = {
            each: vars(Waiter)[each]
            for each in ("__init__", "perform", "_asyncio_future_blocking", "__repr__")
        }
        for each in ("get_loop", "add_done_callback", "cancel", "result"):
            if each != name:
                kept[each] = vars(Waiter)[each]
        lacking = type("Lacking", (), kept)

        def scenario(loop, cls, log):
            self.go(log, loop, cls, lacking(loop, "", None), "after")

        like_asyncio(scenario)


class TestFinalizers:
    def test_that_cancel_and_make_tasks(self, task_class, loop, turn, reported):
        reported(loop)

        class Evil:
            def __del__(self):
                for task in asyncio.all_tasks(loop):
                    task.cancel("evil")
                made.append(task_class(yielding(), loop=loop))

        async def main(evil):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            del evil

        made = []
        tasks = [task_class(main(Evil()), loop=loop) for _ in range(5)]
        victims = [task_class(yielding(5), loop=loop) for _ in range(5)]
        turn(loop, 8)
        assert len(made) == 5
        assert all(task.done() for task in [*tasks, *victims, *made])
        assert all(task.cancelled() for task in victims)

    def test_that_run_between_steps(self, task_class, loop, turn):
        class Evil:
            def __del__(self):
                loop._ready.clear()
                gc.collect()
                survivors.append(loop.call_soon(ran.append, 1))

        async def main(evil):
            return evil

        survivors, ran = [], []
        task_class(main(Evil()), loop=loop)
        turn(loop, 3)
        gc.collect()
        turn(loop)
        assert len(survivors) == len(ran) == 1

    def test_that_bring_a_task_back(self, task_class, loop, turn):
        class Undead(task_class):
            def __del__(self):
                kept.append(self)

        kept = []
        waiter = Forgetful(loop, "", None)
        task = Undead(waiting(waiter), loop=loop, name="undead")
        turn(loop)
        del task
        (task,) = kept
        kept.clear()
        assert task.get_name() == "undead"
        assert task._fut_waiter is waiter
        assert not task.done()
        assert task.cancel() is True
        repr(task), asyncio.all_tasks(loop)
        loop.call_soon(task.get_coro().close)
        turn(loop)
        gone = weakref.ref(task)
        # Finalized once already, it goes for good.
        del task
        gc.collect()
        assert gone() is None
        assert kept == []

    def test_report_that_raises(self, task_class, loop, turn, caplog):
        class Rude:
            def __call__(self, loop, context):
                raise Own("mine")

        loop.set_exception_handler(Rude())
        caught = []
        previous, sys.unraisablehook = sys.unraisablehook, caught.append

        async def forgotten():
            await loop.create_future()

        try:
            task = task_class(forgotten(), loop=loop)
            turn(loop)
            with SURVIVED:
                del task
                gc.collect()
            assert len(caught) + len(caplog.records) > 0
        finally:
            sys.unraisablehook = previous
            caught.clear()

    def test_collection_at_every_allocation(self, task_class, loop):
        async def exercise():
            loop.set_task_factory(
                lambda loop, coro, **kwargs: task_class(coro, loop=loop, **kwargs)
            )
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(yielding(n % 3)) for n in range(10)]
            await asyncio.gather(*(yielding() for _ in range(5)))
            victim = asyncio.create_task(waiting(loop.create_future()))
            await asyncio.sleep(0)
            victim.cancel("message")
            with contextlib.suppress(asyncio.CancelledError):
                await victim
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0):
                    await asyncio.sleep(3600)
            repr(victim), asyncio.all_tasks(), victim.get_stack()
            return {task.result() for task in tasks}

        threshold = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            result = loop.run_until_complete(task_class(exercise(), loop=loop))
        finally:
            gc.set_threshold(*threshold)
        assert result == {"ended"}

    @pytest.mark.parametrize("count", [1, 50])
    def test_pending_cycles(self, task_class, loop, turn, reported, count):
        contexts = reported(loop)

        async def main(others):
            others.append(asyncio.current_task())
            await loop.create_future()

        others = []
        for _ in range(count):
            task_class(main(others), loop=loop)
        turn(loop)
        gone = [weakref.ref(task) for task in others]
        del others
        gc.collect()
        assert len(contexts) == count
        contexts.clear()
        gc.collect()
        assert [reference() for reference in gone] == [None] * count
        assert contexts == []


class TestCallbacks:
    def test_that_raise(self, like_asyncio):
        def scenario(loop, cls, log):
            task = cls(answer(5), loop=loop, name="mine")
            for kind in (LookupError, Own):
                task.add_done_callback(lambda _, kind=kind: raising(kind)())
                task.add_done_callback(lambda _: log.append("callback"))
            turns(loop, 3, log)
            log.append(outcome(task))

        like_asyncio(scenario)

    def test_that_change_the_list(self, like_asyncio):
        def scenario(loop, cls, log):
            def second(task):
                log.append("second")

            def first(task):
                log.append(("first", task.remove_done_callback(second)))
                task.add_done_callback(second)

            task = cls(answer(5), loop=loop, name="mine")
            task.add_done_callback(first)
            task.add_done_callback(second)
            turns(loop, 4, log)

        like_asyncio(scenario)


class TestLoops:
    """A loop may be anything that has the methods."""

    class Fake:
        def __init__(self, wrong="", act=None):
            self.scheduled = []
            self.wrong = wrong
            self.act = act

        def get_debug(self):
            return self.act() if self.wrong == "get_debug" else False

        def call_soon(self, callback, *args, context=None):
            if self.wrong == "call_soon":
                return self.act()
            self.scheduled.append((callback, args))

        def is_running(self):
            return self.act() if self.wrong == "is_running" else True

        def call_exception_handler(self, context):
            if self.wrong == "call_exception_handler":
                return self.act()

        def create_future(self):
            return asyncio.Future(loop=self)

        def is_closed(self):
            return False

        def run(self, log):
            while self.scheduled:
                scheduled, self.scheduled = self.scheduled, []
                asyncio._set_running_loop(self)
                try:
                    for callback, args in scheduled:
                        call(callback, args, log)
                finally:
                    asyncio._set_running_loop(None)

    def test_of_anothers_making(self, like_asyncio):
        def scenario(_, cls, log):
            loop = self.Fake()
            future = loop.create_future()

            async def main():
                log.append(asyncio.current_task() is task)
                await asyncio.sleep(0)
                return await future

            task = cls(main(), loop=loop, name="mine")
            log.append(asyncio.all_tasks(loop) == {task})
            loop.run(log)
            log.append((outcome(task), task._fut_waiter is future))
            future.set_result(5)
            loop.run(log)
            log.append(outcome(task))

        like_asyncio(scenario)

    @pytest.mark.parametrize("kind", [LookupError, AttributeError, Own])
    @pytest.mark.parametrize("wrong", ["get_debug", "call_soon"])
    def test_that_raises(self, like_asyncio, wrong, kind):
        def scenario(_, cls, log):
            coro = answer()
            try:
                cls(coro, loop=self.Fake(wrong, raising(kind)), name="mine")
            except BaseException as exc:
                log.append(describe(exc))
            coro.close()

        like_asyncio(scenario)

    @pytest.mark.parametrize(
        "value", [None, 5, object()], ids=lambda v: type(v).__name__
    )
    def test_whose_call_soon_answers_nonsense(self, like_asyncio, value):
        def scenario(_, cls, log):
            coro = answer()
            task = cls(coro, loop=self.Fake("call_soon", lambda: value), name="mine")
            log.append(outcome(task))
            forget(task)
            coro.close()

        like_asyncio(scenario)

    def test_closed_with_tasks_pending(self, task_class, new_loop, reported, turn):
        loop = new_loop()
        contexts = reported(loop)
        future = loop.create_future()
        tasks = [
            task_class(waiting(future), loop=loop),
            task_class(yielding(5), loop=loop),
        ]
        turn(loop)
        late = task_class(answer(), loop=loop)
        loop.close()
        for task in (*tasks, late):
            with SURVIVED:
                task.cancel()
            with SURVIVED:
                future.set_result(5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            del task, late
            tasks.clear()
            gc.collect()
            messages = {each["message"] for each in contexts}
            contexts.clear()
            gc.collect()
        assert messages <= {"Task was destroyed but it is pending!"}


class TestThreads:
    def test_cancelled_from_many(self, task_class, new_loop):
        # Not allowed, but it must not bring the process down.
        loop = new_loop()
        enough = threading.Event()

        async def main():
            async def stubborn():
                while not enough.is_set():
                    with contextlib.suppress(asyncio.CancelledError):
                        await asyncio.sleep(0)

            tasks.extend(task_class(stubborn(), loop=loop) for _ in range(5))
            ready.set()
            while any(thread.is_alive() for thread in threads):
                await asyncio.sleep(0)
            enough.set()
            await asyncio.wait(tasks)

        def meddle():
            ready.wait()
            for _ in range(300):
                for task in tasks:
                    task.cancel("from a thread")
                    task.uncancel()
                    repr(task), task.done(), task.cancelling(), task._fut_waiter

        tasks, ready = [], threading.Event()
        threads = [threading.Thread(target=meddle) for _ in range(3)]
        for thread in threads:
            thread.start()
        loop.run_until_complete(task_class(main(), loop=loop))
        for thread in threads:
            thread.join()
        assert all(task.done() for task in tasks)


NAMES = sorted(set(dir(asyncio.Task)) - set(dir(object)))


def misuse(task):
    """Do all that can be done with a task, whatever each may raise."""
    for name in (*NAMES, "nonsense"):
        with SURVIVED:
            attribute = getattr(task, name)
        for args in ((), (None,), (print,), (1, 2)):
            with SURVIVED:
                attribute(*args)
        for value in (None, 5, True):
            with SURVIVED:
                setattr(task, name, value)
        with SURVIVED:
            delattr(task, name)
    for action in (repr, hash, iter, list, asyncio.ensure_future, asyncio.isfuture):
        with SURVIVED:
            action(task)
    with SURVIVED:
        task._log_destroy_pending = False


@native_only
class TestHalfMade:
    @pytest.fixture
    def uninitialised(self):
        class Careless(evloop.Task):
            def __init__(self, *args, **kwargs):
                """Forget to call the base's."""

        return [evloop.Task.__new__(evloop.Task), Careless(), Careless(1, loop=2)]

    def test_every_method(self, uninitialised, capsys):
        for task in uninitialised:
            misuse(task)
        gc.collect()

    def test_used_by_others(self, uninitialised, evloop_loop, turn):
        evloop_loop.set_exception_handler(lambda *_: None)
        for task in uninitialised:
            for register in (asyncio._register_task, asyncio._unregister_task):
                with SURVIVED:
                    register(task)
                with SURVIVED:
                    asyncio.all_tasks(evloop_loop)
            for use in (asyncio.gather, asyncio.shield, asyncio.wrap_future):
                with SURVIVED:
                    use(task)
            outer = evloop.Task(waiting(task), loop=evloop_loop)
            turn(evloop_loop, 3)
            assert outer.done()
            assert isinstance(outer.exception(), Exception)

    def test_init_after_all(self, uninitialised, evloop_loop, turn):
        task = uninitialised[0]
        task.__init__(answer(5), loop=evloop_loop)
        turn(evloop_loop)
        assert task.result() == 5

    @pytest.mark.parametrize("when", ["made", "inside", "suspended", "done"])
    @pytest.mark.parametrize("valid", [False, True])
    def test_init_again(self, evloop_loop, turn, when, valid):
        evloop_loop.set_exception_handler(lambda *_: None)

        def again():
            with SURVIVED, warnings.catch_warnings():
                # The first coroutine may never be awaited now.
                warnings.simplefilter("ignore", RuntimeWarning)
                task.__init__(coro if valid else None, loop=evloop_loop)
                gc.collect()

        async def main():
            if when == "inside":
                again()
            await asyncio.sleep(0)

        coro = yielding()
        task = evloop.Task(main(), loop=evloop_loop)
        if when == "made":
            again()
        turn(evloop_loop)
        if when == "suspended":
            again()
        turn(evloop_loop)
        if when == "done":
            again()
        turn(evloop_loop, 5)
        misuse(task)
        turn(evloop_loop, 2)
        forget(task)
        coro.close()
        assert evloop_loop.run_until_complete(yielding()) == "ended"


@pytest.mark.parametrize("state", ["made", "suspended", "done"])
def test_misuse(task_class, loop, turn, state, capsys):
    loop.set_exception_handler(lambda *_: None)
    coro = yielding(2)
    task = task_class(coro, loop=loop)
    turn(loop, {"made": 0, "suspended": 1, "done": 3}[state])
    misuse(task)
    turn(loop, 3)
    assert task.done()
    coro.close()


CHAIN = """
import asyncio, gc, sys
import evloop

count = 100_000
loop = evloop.new_event_loop()
loop.set_exception_handler(lambda *args: None)

async def waiting(future):
    return await future

def make(future):
    task = future
    for _ in range(count):
        task = evloop.Task(waiting(task), loop=loop)
    loop.stop()
    loop.run_forever()
    return task

if sys.argv[1] == "dropped":
    make(loop.create_future())
    gc.collect()
else:
    future = loop.create_future()
    task = make(future)
    future.set_result(5)
    assert loop.run_until_complete(task) == 5
    del task, future
loop.close()
print("survived")
"""


@native_only
@pytest.mark.parametrize("how", ["dropped", "finished"])
def test_long_chain(how):
    done = subprocess.run(
        [sys.executable, "-P", "-X", "faulthandler", "-c", CHAIN, how],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr[-2000:]
