"""The section *Delayed calls*."""

import asyncio
import functools
import time

import pytest

DAY = 24 * 60 * 60


@pytest.fixture(params=["call_later", "call_at"])
def call_after(request, loop):
    """A function: schedule by either method, the delay in seconds from now."""
    if request.param == "call_later":
        return loop.call_later
    return lambda delay, callback, *args: loop.call_at(
        loop.time() + delay, callback, *args
    )


def test_internal_clock(loop, run_forever, monkeypatch):
    """The event loop has its own internal clock for computing timeouts."""
    # Whatever happens to the time of day, the loop keeps to its own clock.
    monkeypatch.setattr(time, "time", lambda: 0.0)
    called = []
    started = loop.time()
    loop.call_later(0.02, lambda: called.append(loop.time()))
    loop.call_later(0.03, loop.stop)
    run_forever()
    assert called[0] - started >= 0.02


def test_clock_is_monotonic(loop):
    """Which clock is used depends on the (platform-specific) event loop
    implementation; ideally it is a monotonic clock."""
    before = time.monotonic()
    now = [loop.time() for _ in range(1000)]
    assert before <= now[0]
    assert now == sorted(now)
    assert now[-1] <= time.monotonic()


def test_clock_is_not_the_time_of_day(loop):
    """This will generally be
    a different clock than :func:`time.time`."""
    # More than a day apart: one counts from 1970, the other from the boot.
    assert abs(loop.time() - time.time()) > DAY


def test_timeouts_of_a_day(loop, call_after):
    """Timeouts (relative *delay* or absolute *when*) should not exceed one day."""
    # Up to a day they must work; the running interpreter takes longer ones too.
    called = []
    timers = [call_after(DAY * days, called.append, days) for days in (1, 2, 10_000)]
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert called == []
    whens = [timer.when() for timer in timers]
    assert whens == sorted(whens)
    assert whens[0] - loop.time() == pytest.approx(DAY, abs=60)
    for timer in timers:
        timer.cancel()


@pytest.mark.parametrize("delay", [0, 0.0, 0.0004, 0.02, 0.05])
def test_call_later_calls_after_the_delay(loop, run_forever, delay):
    """Arrange for the *callback* to be called after the given *delay*
    seconds (either an int or float)."""
    called = []

    def callback():
        called.append(time.monotonic_ns())
        loop.stop()

    started = time.monotonic_ns()
    loop.call_later(delay, callback)
    run_forever()
    assert called[0] - started >= int(delay * 1e9)


def test_call_later_int_seconds(loop, call_after):
    """*delay* seconds (either an int or float)"""
    for delay in (3, 3.0):
        timer = call_after(delay, print)
        assert timer.when() - loop.time() == pytest.approx(3, abs=1)
        assert isinstance(timer.when(), float)
        timer.cancel()


def test_call_later_returns_a_handle(loop, run_forever, call_after):
    """An instance of :class:`asyncio.Handle` is returned, which can be
    used to cancel the callback."""
    called = []
    handle = call_after(0.001, called.append, 1)
    assert isinstance(handle, asyncio.Handle)
    # What the running interpreter returns is more: it knows its time.
    assert isinstance(handle, asyncio.TimerHandle)
    handle.cancel()
    call_after(0.01, loop.stop)
    run_forever()
    assert called == []


def test_call_later_calls_exactly_once(loop, run_forever):
    """*callback* will be called exactly once per call to :meth:`call_later`."""
    called = []

    def callback():
        called.append(loop.time())

    for _ in range(3):
        loop.call_later(0.001, callback)
    for delay in (0.01, 0.005):
        loop.call_later(delay, loop.stop)
        run_forever()
    assert len(called) == 3


def test_exactly_the_same_time(loop, run_forever):
    """If two callbacks are scheduled for exactly the same time, it is
    undefined which will be called first."""
    # Either order will do, but both are called, and once.
    called = []
    when = loop.time() + 0.005
    loop.call_at(when, called.append, 1)
    loop.call_at(when, called.append, 2)
    loop.call_at(when + 0.001, loop.stop)
    run_forever()
    assert sorted(called) == [1, 2]


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 8, 50])
def test_call_later_passes_arguments(loop, run_forever, call_after, count):
    """The optional positional *args* will be passed to the callback when it
    is called."""
    passed = []
    arguments = tuple(object() for _ in range(count))
    call_after(0, lambda *args: passed.append(args), *arguments)
    call_after(0.001, loop.stop)
    run_forever()
    assert passed == [arguments]


def test_named_arguments(loop, run_forever, call_after):
    """If you want the callback to be called with some named
    arguments, use a closure or :func:`functools.partial`. ...
    :ref:`Use functools.partial to pass keywords to the callback
    <asyncio-pass-keywords>`."""
    called = []

    def callback(*, name):
        called.append(name)

    call_after(0, lambda: callback(name="closure"))
    call_after(0.001, functools.partial(callback, name="partial"))
    call_after(0.002, loop.stop)
    run_forever()
    assert called == ["closure", "partial"]


@pytest.mark.parametrize("number", [int, float])
def test_call_at_absolute_time(loop, run_forever, number):
    """Arrange for the *callback* to be called at the given absolute timestamp
    *when* (an int or float), using the same time reference as
    :meth:`BaseEventLoop.time`."""
    called = []

    def callback():
        called.append(loop.time())
        loop.stop()

    # A whole number lies up to a second in the past: due at once.
    when = number(loop.time() + (0.02 if number is float else 0))
    timer = loop.call_at(when, callback)
    assert timer.when() == when
    run_forever()
    assert called[0] >= when


def test_call_at_behaves_as_call_later(loop, run_forever):
    """This method's behavior is the same as :meth:`call_later`."""
    order = []
    now = loop.time()
    loop.call_at(now + 0.006, order.append, "third")
    loop.call_later(0.003, order.append, "second")
    loop.call_at(now - 1, order.append, "first")
    loop.call_later(3600, order.append, "never").cancel()
    loop.call_at(now + 3600, order.append, "never").cancel()
    loop.call_at(now + 0.009, loop.stop)
    run_forever()
    assert order == ["first", "second", "third"]


def test_call_at_and_call_later_agree(loop):
    """using the same time reference as :meth:`BaseEventLoop.time`"""
    before = loop.time()
    timer = loop.call_later(100, print)
    assert before + 100 <= timer.when() <= loop.time() + 100
    timer.cancel()


def test_time_is_a_float(loop):
    """Return the current time, as a :class:`float` value, according to the
    event loop's internal clock."""
    assert type(loop.time()) is float
    assert loop.time() == pytest.approx(time.monotonic(), abs=60)


def test_sleep(loop, run):
    """The :func:`asyncio.sleep` function."""

    async def main():
        started = loop.time()
        assert await asyncio.sleep(0.02, "result") == "result"
        return loop.time() - started

    assert run(main()) >= 0.02
