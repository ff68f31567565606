"""The section *UNIX signals*."""

import functools
import signal
import threading

import pytest


@pytest.fixture(autouse=True)
def handlers_restored():
    """The signal handlers of the process stay as they were."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_add_signal_handler(loop, run_forever):
    """Add a handler for a signal."""
    called = []

    def handler(*args):
        called.append(args)
        # It runs in the loop, as any callback does.
        assert loop.is_running()
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, handler, "argument", 2)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    run_forever()
    assert called == [("argument", 2)]


def test_signal_wakes_a_waiting_loop(loop, run_forever):
    """Add a handler for a signal."""
    main_thread = threading.main_thread().ident
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    killer = threading.Timer(0.05, signal.pthread_kill, (main_thread, signal.SIGUSR1))
    loop.call_soon(killer.start)
    run_forever()
    killer.join()


@pytest.mark.parametrize(
    "number",
    [0, -1, signal.NSIG, 10_000, signal.SIGKILL, signal.SIGSTOP],
    ids=str,
)
def test_invalid_or_uncatchable(loop, number):
    """Raise :exc:`ValueError` if the signal number is invalid or uncatchable."""
    # What the kernel finds uncatchable comes as RuntimeError in the running
    # interpreter, by its own account of the error.
    expected = RuntimeError if number in (9, 19) else ValueError
    with pytest.raises(expected, match=rf"sig.* {number}"):
        loop.add_signal_handler(number, print)
    assert loop.remove_signal_handler(signal.SIGUSR1) is False


def test_problem_setting_up_the_handler(loop):
    """Raise :exc:`RuntimeError` if there is a problem setting up the handler."""
    caught = []

    def elsewhere():
        # Signal handlers belong to the main thread.
        with pytest.raises(RuntimeError) as info:
            loop.add_signal_handler(signal.SIGUSR1, print)
        caught.append(info.value)

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert len(caught) == 1
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_partial(loop, run_forever):
    """:ref:`Use functools.partial to pass keywords to the callback
    <asyncio-pass-keywords>`."""
    called = []

    def handler(*args, **kwargs):
        called.append((args, kwargs))
        loop.stop()

    loop.add_signal_handler(signal.SIGUSR1, functools.partial(handler, key="word"), 1)
    loop.call_soon(signal.raise_signal, signal.SIGUSR1)
    run_forever()
    assert called == [((1,), {"key": "word"})]


def test_remove_signal_handler(loop, run_forever):
    """Remove a handler for a signal."""
    before = signal.getsignal(signal.SIGINT)
    called = []
    loop.add_signal_handler(signal.SIGINT, called.append, "loop")
    assert signal.getsignal(signal.SIGINT) is not before
    loop.remove_signal_handler(signal.SIGINT)
    # Python's own handler is back.
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    loop.call_soon(signal.raise_signal, signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run_forever()
    assert called == []


def test_remove_signal_handler_result(loop):
    """Return ``True`` if a signal handler was removed, ``False`` if not."""
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
