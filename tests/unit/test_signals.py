"""Signal handlers, KeyboardInterrupt, and handlers of the signal module."""

import asyncio
import ctypes
import functools
import os
import signal
import threading
import time

import pytest


@pytest.fixture(autouse=True)
def signals_are_restored():
    """Assert that a test leaves the process's signal state as it found it."""
    used = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGALRM)
    before = [signal.getsignal(number) for number in used]
    yield
    assert [signal.getsignal(number) for number in used] == before
    wakeup = signal.set_wakeup_fd(-1)
    assert wakeup == -1


@pytest.fixture
def alarm():
    """A function that sends a signal to this process after a moment."""

    def send(number, seconds=0.02):
        timer = threading.Timer(
            seconds, signal.pthread_kill, (threading.main_thread().ident, number)
        )
        timer.start()
        timers.append(timer)

    timers = []
    yield send
    for timer in timers:
        timer.join()


@pytest.fixture
def sigusr1():
    """SIGUSR1 with a handler of the signal module that can be replaced."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda handler: signal.signal(signal.SIGUSR1, handler)
    signal.signal(signal.SIGUSR1, before)


def test_handler_runs_with_its_arguments(loop, turn):
    seen = []
    assert (
        loop.add_signal_handler(signal.SIGUSR1, lambda *a: seen.append(a), 1, 2) is None
    )
    os.kill(os.getpid(), signal.SIGUSR1)
    turn(loop, 3)
    assert seen == [(1, 2)]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True


def test_handler_wakes_a_blocked_loop(loop, alarm):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_soon(alarm, signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_handler_runs_as_a_callback_of_the_loop(loop):
    seen = []

    def handler():
        seen.append(asyncio.get_running_loop() is loop)
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler)
    signal.raise_signal(signal.SIGUSR1)
    assert seen == []
    loop.run_forever()
    assert seen == [True]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_signal_while_callbacks_are_busy(loop, turn):
    order = []

    def busy():
        signal.raise_signal(signal.SIGUSR1)
        order.append("busy")

    loop.add_signal_handler(signal.SIGUSR1, order.append, "handler")
    loop.call_soon(busy)
    loop.call_soon(order.append, "rest of the batch")
    turn(loop, 3)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert order == ["busy", "rest of the batch", "handler"]


def test_two_signals_keep_their_order(loop, turn):
    order = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, order.append, number)
    sent = [signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2]
    for number in sent:
        signal.raise_signal(number)
    turn(loop, 3)
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.remove_signal_handler(number)
    assert order == sent


def test_replaced_handler(loop, turn):
    order = []
    loop.add_signal_handler(signal.SIGUSR1, order.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, order.append, "new")
    signal.raise_signal(signal.SIGUSR1)
    turn(loop, 3)
    assert order == ["new"]
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_removal_restores_the_default(loop):
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    for number, default in (
        (signal.SIGUSR1, signal.SIG_DFL),
        (signal.SIGINT, signal.default_int_handler),
    ):
        loop.add_signal_handler(number, print)
        assert signal.getsignal(number) is not default
        assert loop.remove_signal_handler(number) is True
        assert signal.getsignal(number) is default


def test_removal_from_a_loop_that_ran(loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    signal.raise_signal(signal.SIGUSR1)
    loop.run_forever()
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


def test_wakeup_descriptor_while_a_handler_is_set(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.remove_signal_handler(signal.SIGUSR2)
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    assert wakeup >= 0
    loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.set_wakeup_fd(-1) == -1


def test_close_removes_the_handlers(loop):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert signal.set_wakeup_fd(-1) == -1


def test_cancelled_handler_is_removed_when_its_signal_comes(loop, turn):
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop._signal_handlers[signal.SIGUSR1].cancel()
    signal.raise_signal(signal.SIGUSR1)
    turn(loop, 3)
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


@pytest.mark.parametrize("act", ["add", "remove"])
@pytest.mark.parametrize(
    "number",
    [0, -1, signal.NSIG, 1000, 10**20, None, "SIGINT", 1.0, True, signal.SIGKILL],
    ids=repr,
)
def test_signal_numbers(same_outcome, act, number):
    def handle(loop):
        args = [print] if act == "add" else []
        try:
            return getattr(loop, f"{act}_signal_handler")(number, *args)
        finally:
            if number is True:
                loop.remove_signal_handler(1)

    same_outcome(handle)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_uncatchable_signals(same_outcome, number):
    exc = same_outcome(lambda loop: loop.add_signal_handler(number, print))
    assert isinstance(exc, RuntimeError)
    assert str(exc) == f"sig {number:d} cannot be caught"


def test_uncatchable_signal_leaves_no_trace(loop):
    with pytest.raises(RuntimeError):
        loop.add_signal_handler(signal.SIGKILL, print)
    assert signal.set_wakeup_fd(-1) == -1
    assert loop.remove_signal_handler(signal.SIGKILL) is False


def test_coroutines_are_refused(same_outcome):
    async def handler():
        """Never awaited."""

    def add_function(loop):
        loop.add_signal_handler(signal.SIGUSR1, handler)

    def add_object(loop):
        coroutine = handler()
        try:
            loop.add_signal_handler(signal.SIGUSR1, coroutine)
        finally:
            coroutine.close()

    for add in (add_function, add_object):
        exc = same_outcome(add)
        assert isinstance(exc, TypeError)
        assert str(exc) == "coroutines cannot be used with add_signal_handler()"


def test_outside_the_main_thread(same_outcome):
    def add(loop):
        raised = []

        def in_thread():
            try:
                loop.add_signal_handler(signal.SIGUSR1, print)
            except Exception as exc:
                raised.append(exc)

        thread = threading.Thread(target=in_thread)
        thread.start()
        thread.join()
        raise raised[0]

    assert isinstance(same_outcome(add), RuntimeError)


def test_closed_loop(same_outcome):
    def add(loop):
        loop.close()
        loop.add_signal_handler(signal.SIGUSR1, print)

    exc = same_outcome(add)
    assert str(exc) == "Event loop is closed"


def test_exception_of_a_handler_is_reported(loop, reported):
    contexts = reported(loop)

    def fail():
        loop.call_soon(loop.stop)
        raise LookupError

    loop.add_signal_handler(signal.SIGUSR1, fail)
    signal.raise_signal(signal.SIGUSR1)
    loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    assert [type(each["exception"]) for each in contexts] == [LookupError]


def test_sigint_while_blocked(loop, alarm):
    loop.call_soon(alarm, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()
    loop.run_until_complete(asyncio.sleep(0))


def test_sigint_while_waiting_for_a_timer(loop, alarm):
    loop.call_later(3600, print)
    loop.call_soon(alarm, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))


def test_sigint_in_a_busy_callback(loop, alarm):
    def busy():
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            pass

    loop.call_soon(alarm, signal.SIGINT)
    loop.call_soon(busy)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(asyncio.sleep(0))


def test_sigint_between_callbacks(loop, alarm):
    def again():
        loop.call_soon(again)

    loop.call_soon(alarm, signal.SIGINT)
    again()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()


def test_sigint_between_callbacks_in_c(loop, alarm):
    # A call that schedules itself for ever, with no byte code in it: nothing
    # but the loop can notice the signal.
    again = functools.partial(loop.call_soon)
    again.__setstate__((loop.call_soon, (again,), {}, {}))
    loop.call_soon(alarm, signal.SIGINT)
    again()
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    assert not loop.is_running()


def test_exception_of_a_python_level_handler(loop, alarm, sigusr1):
    def handler(number, frame):
        raise LookupError("mine")

    sigusr1(handler)
    loop.call_soon(alarm, signal.SIGUSR1)
    with pytest.raises(LookupError, match=r"^mine$"):
        loop.run_forever()
    ran = []
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert ran == [1]


def test_python_level_handler_runs_and_the_loop_goes_on(loop, alarm, sigusr1):
    seen = []

    def handler(number, frame):
        seen.append(number)
        loop.call_soon_threadsafe(loop.stop)

    sigusr1(handler)
    loop.call_soon(alarm, signal.SIGUSR1)
    loop.run_forever()
    assert seen == [signal.SIGUSR1]


def test_interrupted_poll_still_waits_for_its_timer(loop):
    seen = []
    fired = []
    before = signal.signal(signal.SIGALRM, lambda *args: seen.append(args))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        handle = loop.call_later(0.1, lambda: (fired.append(loop.time()), loop.stop()))
        loop.run_forever()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert len(seen) == 1
    assert fired[0] >= handle.when()


def test_runner_turns_sigint_into_cancellation(loop_class, alarm):
    steps = []

    async def main():
        alarm(signal.SIGINT)
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            steps.append("cancelled")
            raise

    with pytest.raises(KeyboardInterrupt):
        with asyncio.Runner(loop_factory=loop_class) as runner:
            runner.run(main())
    assert steps == ["cancelled"]


def test_second_loop_takes_the_wakeup_over(new_loop, turn):
    # The latest loop to add a handler gets the numbers, as with asyncio.
    first, second = new_loop(), new_loop()
    seen = []
    first.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    second.add_signal_handler(signal.SIGUSR2, seen.append, "second")
    signal.raise_signal(signal.SIGUSR2)
    turn(second, 3)
    assert seen == ["second"]
    assert second.remove_signal_handler(signal.SIGUSR2) is True
    assert first.remove_signal_handler(signal.SIGUSR1) is True


@pytest.fixture
def raise_natively():
    """A C function that raises a signal and leaves its handler pending."""
    return ctypes.PyDLL(None)["raise"]


@pytest.mark.parametrize("does", ["stop", "call_later"])
def test_handler_that_runs_just_before_the_loop_waits(loop, raise_natively, does):
    def handler(signum, frame):
        if does == "stop":
            loop.stop()
        else:
            loop.call_later(0.001, loop.stop)

    rescued = []
    rescue = threading.Timer(
        10, loop.call_soon_threadsafe, (lambda: (rescued.append(1), loop.stop()),)
    )
    old = signal.signal(signal.SIGUSR1, handler)
    rescue.start()
    try:
        loop.call_soon(raise_natively, int(signal.SIGUSR1))
        loop.run_forever()
    finally:
        rescue.cancel()
        rescue.join()
        signal.signal(signal.SIGUSR1, old)
    assert not rescued


def test_signal_reaches_a_batch_of_native_callbacks(loop):
    # No callback runs Python code, so only the loop itself can let the handler in.
    ran = []
    seen = []
    old = signal.signal(signal.SIGALRM, lambda *args: seen.append(bool(ran)))
    for _ in range(500):
        loop.call_soon(sum, range(100_000))
    loop.call_soon(ran.append, "all")
    loop.call_soon(loop.stop)
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    try:
        loop.run_forever()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert seen == [False]
