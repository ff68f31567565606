"""The sections *Base Event Loop* and *Run an event loop*."""

import asyncio
import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

# An upper bound in seconds.
DEADLINE = 30.0


def test_is_base_event_loop(loop):
    """.. class:: BaseEventLoop Base class of event loops."""
    assert isinstance(loop, asyncio.BaseEventLoop)
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_not_thread_safe(loop, run):
    """This class is :ref:`not thread safe <asyncio-multithreading>`."""
    # Debug mode is where a call from another thread is refused.
    loop.set_debug(True)

    def elsewhere():
        with pytest.raises(RuntimeError, match="Non-thread-safe operation"):
            loop.call_soon(print)
        return True

    async def main():
        assert await loop.run_in_executor(None, elsewhere)

    run(main())


def test_registers_executes_and_cancels_delayed_calls(loop, run_forever):
    """Registering, executing and cancelling delayed calls (timeouts)."""
    called = []
    loop.call_later(0.01, called.append, "executed")
    loop.call_later(0.001, called.append, "cancelled").cancel()
    loop.call_later(0.02, loop.stop)
    run_forever()
    assert called == ["executed"]


def test_creates_client_and_server_transports(
    loop, run, accepted, stream_endpoint, exchange
):
    """Creating client and server :ref:`transports <asyncio-transport>` for various
    kinds of communication."""

    async def main():
        server = await loop.create_server(accepted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(stream_endpoint, *address)
        await exchange(client)
        assert isinstance(transport, asyncio.Transport)
        assert isinstance(accepted[0].transport, asyncio.Transport)
        await client.aclose()
        await accepted.aclose()
        server.close()
        await server.wait_closed()

    run(main())


def test_launches_subprocesses(loop, run):
    """Launching subprocesses and the associated :ref:`transports
    <asyncio-transport>` for communication with an external program."""

    class Program(asyncio.SubprocessProtocol):
        def __init__(self):
            self.output = b""
            self.lost = loop.create_future()

        def pipe_data_received(self, fd, data):
            self.output += data

        def connection_lost(self, exc):
            self.lost.set_result(exc)

    async def main():
        transport, program = await loop.subprocess_exec(Program, "cat", stderr=None)
        assert isinstance(transport, asyncio.SubprocessTransport)
        stdin = transport.get_pipe_transport(0)
        assert isinstance(stdin, asyncio.WriteTransport)
        assert isinstance(transport.get_pipe_transport(1), asyncio.ReadTransport)
        stdin.write(b"to a program and back")
        stdin.close()
        assert await program.lost is None
        assert program.output == b"to a program and back"
        assert transport.get_returncode() == 0
        transport.close()

    # Before Python 3.12 a child watcher of the policy waits for the child, and
    # the policy's watcher may want to know the main thread's loop.
    asyncio.set_event_loop(loop)
    try:
        run(main())
    finally:
        asyncio.set_event_loop(None)


def test_delegates_costly_calls_to_threads(loop, run):
    """Delegating costly function calls to a pool of threads."""
    here = threading.get_ident()
    assert run(loop.run_in_executor(None, threading.get_ident)) != here


def test_run_forever_runs_until_stop(loop, run_forever):
    """Run until :meth:`stop` is called."""
    turns = []

    def turn():
        assert loop.is_running()
        turns.append(len(turns))
        if len(turns) == 100:
            loop.stop()
        else:
            loop.call_soon(turn)

    loop.call_soon(turn)
    run_forever()
    assert turns == list(range(100))
    assert not loop.is_running()


def test_stop_before_run_forever(loop, socket_pair):
    """If :meth:`stop` is called before
    :meth:`run_forever()` is called, this polls the I/O selector once
    with a timeout of zero, runs all callbacks scheduled in response to
    I/O events (and those that were already scheduled), and then exits."""
    rsock, wsock = socket_pair
    wsock.send(b"x")
    called = []

    def reader():
        # The socket stays readable: a second poll would call this again.
        called.append("io")
        loop.call_soon(called.append, "too late")

    loop.add_reader(rsock, reader)
    loop.call_soon(called.append, "scheduled")
    loop.stop()
    loop.run_forever()
    loop.remove_reader(rsock)
    assert sorted(called) == ["io", "scheduled"]


def test_stop_before_run_forever_does_not_wait(loop):
    """this polls the I/O selector once with a timeout of zero"""
    called = []
    started = loop.time()
    timer = loop.call_later(3600, called.append, "an hour later")
    loop.stop()
    loop.run_forever()
    timer.cancel()
    assert loop.time() - started < 1800
    assert called == []


def test_stop_while_running_finishes_the_batch(loop):
    """If :meth:`stop` is called while :meth:`run_forever` is running,
    this will run the current batch of callbacks and then exit."""
    called = []
    loop.call_soon(called.append, "before")
    loop.call_soon(loop.stop)
    loop.call_soon(called.append, "after")
    loop.run_forever()
    assert called == ["before", "after"]


def test_what_the_last_batch_scheduled_runs_next_time(loop):
    """Note that callbacks scheduled by callbacks will not run in that case;
    they will run the next time :meth:`run_forever` is called."""
    called = []

    def stop_and_schedule():
        loop.stop()
        loop.call_soon(called.append, "scheduled by a callback")

    loop.call_soon(stop_and_schedule)
    loop.run_forever()
    assert called == []
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert called == ["scheduled by a callback"]


def test_run_until_complete_runs_until_done(loop):
    """Run until the :class:`Future` is done."""
    future = loop.create_future()
    loop.call_later(0.01, future.set_result, "done")
    loop.run_until_complete(future)
    assert future.done()


def test_run_until_complete_wraps_a_coroutine(loop):
    """If the argument is a :ref:`coroutine object <coroutine>`, it is wrapped by
    :func:`async`."""

    # async() is the old name of ensure_future(): it wraps in a task.
    async def main():
        return asyncio.current_task()

    assert isinstance(loop.run_until_complete(main()), asyncio.Task)


def test_run_until_complete_returns_or_raises(loop):
    """Return the Future's result, or raise its exception."""
    good = loop.create_future()
    loop.call_soon(good.set_result, 42)
    assert loop.run_until_complete(good) == 42

    bad = loop.create_future()
    error = ZeroDivisionError("the future's own")
    loop.call_soon(bad.set_exception, error)
    with pytest.raises(ZeroDivisionError) as caught:
        loop.run_until_complete(bad)
    assert caught.value is error


def test_is_running(loop):
    """Returns running status of event loop."""
    seen = []
    loop.call_soon(lambda: seen.append(loop.is_running()))
    loop.call_soon(loop.stop)
    assert loop.is_running() is False
    loop.run_forever()
    assert seen == [True]
    assert loop.is_running() is False


def test_stop(loop):
    """Stop running the event loop."""

    async def main():
        loop.stop()
        await loop.create_future()

    task = loop.create_task(main())
    loop.run_forever()
    assert not loop.is_running()
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_stop_from_a_timer(loop):
    """This causes :meth:`run_forever` to exit at the next suitable
    opportunity (see there for more details)."""
    # From an idle loop the next opportunity is the end of the same turn.
    late = loop.call_later(3600, loop.stop)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    assert loop.time() < late.when()
    late.cancel()


def test_is_closed(loop):
    """Returns ``True`` if the event loop was closed."""
    assert loop.is_closed() is False
    loop.close()
    assert loop.is_closed() is True


def test_close(loop, new_loop):
    """Close the event loop."""
    before = set(os.listdir("/proc/self/fd"))
    another = new_loop()
    assert set(os.listdir("/proc/self/fd")) > before
    another.close()
    assert set(os.listdir("/proc/self/fd")) == before
    assert not loop.is_closed()


def test_close_of_a_running_loop(loop):
    """The loop must not be running."""

    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()

    loop.run_until_complete(main())
    assert not loop.is_closed()


def test_close_loses_pending_callbacks(loop):
    """Pending callbacks will be lost."""
    called = []
    loop.call_soon(called.append, "soon")
    loop.call_later(0, called.append, "later")
    loop.call_soon_threadsafe(called.append, "threadsafe")
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    assert called == []


def test_close_clears_the_queues(loop):
    """This clears the queues"""
    gone = []

    class Argument:
        def __del__(self):
            gone.append(True)

    loop.call_soon(print, Argument())
    loop.call_later(3600, print, Argument())
    loop.call_soon_threadsafe(print, Argument())
    assert gone == []
    loop.close()
    assert gone == [True, True, True]


def test_close_does_not_wait_for_the_executor(loop):
    """and shuts down the executor, but does not wait for
    the executor to finish."""
    started, release = threading.Event(), threading.Event()
    executor = ThreadPoolExecutor(1)

    def work():
        started.set()
        release.wait(DEADLINE)

    loop.set_default_executor(executor)
    future = loop.run_in_executor(None, work)
    assert started.wait(DEADLINE)
    loop.close()
    try:
        assert not future.done()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(print)
    finally:
        release.set()
        executor.shutdown()


def test_close_is_idempotent_and_irreversible(loop):
    """This is idempotent and irreversible."""
    loop.close()
    loop.close()
    assert loop.is_closed()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    assert loop.is_closed()


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.call_soon(print),
        lambda loop: loop.call_soon_threadsafe(print),
        lambda loop: loop.call_later(1, print),
        lambda loop: loop.call_at(loop.time(), print),
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_writer(1, print),
        lambda loop: loop.add_signal_handler(signal.SIGUSR1, print),
        lambda loop: loop.run_in_executor(None, print),
        lambda loop: loop.run_forever(),
    ],
    ids=lambda call: call.__code__.co_names[0],
)
def test_no_other_methods_after_close(loop, call):
    """No other methods should be called after
    this one."""
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        call(loop)
