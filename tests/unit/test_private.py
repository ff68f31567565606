"""Truthful views of the private state that libraries and test suites read."""

import asyncio
import os
import signal
import socket
import threading

import pytest


def test_ready_shows_what_is_scheduled(loop):
    handles = [loop.call_soon(print, number) for number in range(3)]
    assert len(loop._ready) == 3
    assert list(loop._ready) == handles
    assert bool(loop._ready) is True
    assert loop._ready[0] is handles[0]
    assert handles[1] in loop._ready
    loop.stop()
    loop.run_forever()
    assert len(loop._ready) == 0
    assert bool(loop._ready) is False


def test_ready_shows_calls_from_other_threads(loop):
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(print,))
    thread.start()
    thread.join()
    assert len(loop._ready) == 1


def test_ready_can_be_changed(loop, turn):
    ran = []
    handles = [loop.call_soon(ran.append, number) for number in range(5)]
    assert loop._ready.popleft() is handles[0]
    assert loop._ready.pop() is handles[4]
    loop._ready.append(handles[0])
    loop._ready.appendleft(handles[4])
    loop._ready.remove(handles[2])
    turn(loop)
    assert ran == [4, 1, 3, 0]


def test_ready_can_be_cleared(loop, turn):
    ran = []
    loop.call_soon(ran.append, 1)
    loop._ready.clear()
    assert len(loop._ready) == 0
    turn(loop)
    assert ran == []


def test_ready_of_a_task_step(loop):
    task = loop.create_task(asyncio.sleep(0))
    assert len(loop._ready) == 1
    loop.run_until_complete(task)


def test_ready_inside_a_batch(loop, turn):
    lengths = []
    for _ in range(3):
        loop.call_soon(lambda: lengths.append(len(loop._ready)))
    turn(loop)
    assert lengths == [2, 1, 0]


def test_scheduled_shows_the_timers(loop):
    handles = [loop.call_at(when, print) for when in (3, 1, 2)]
    assert len(loop._scheduled) == 3
    assert sorted(loop._scheduled) == [handles[1], handles[2], handles[0]]
    assert loop._scheduled[0] is handles[1]
    assert all(handle in loop._scheduled for handle in handles)


def test_scheduled_can_be_cleared(loop, turn):
    ran = []
    loop.call_at(0, ran.append, 1)
    loop._scheduled.clear()
    assert len(loop._scheduled) == 0
    turn(loop)
    assert ran == []


def test_timer_handle_cancelled(loop):
    loop._timer_handle_cancelled(asyncio.TimerHandle(1, print, (), loop))
    assert loop._timer_cancelled_count == 0


def test_selector_map(loop):
    mine, peer = socket.socketpair()
    with mine, peer:
        before = len(loop._selector.get_map())
        assert mine.fileno() not in loop._selector.get_map()
        reader = loop._add_reader(mine.fileno(), print)
        writer = loop._add_writer(mine.fileno(), print)
        key = loop._selector.get_map()[mine.fileno()]
        assert key.fd == mine.fileno()
        assert key.data == (reader, writer)
        assert loop._selector.get_key(mine.fileno()) == key
        assert len(loop._selector.get_map()) == before + 1
        loop.remove_reader(mine)
        assert loop._selector.get_map()[mine.fileno()].data == (None, writer)
        loop.remove_writer(mine)
        assert mine.fileno() not in loop._selector.get_map()
    loop.close()
    assert loop._selector is None


def test_stopping(loop):
    assert loop._stopping is False
    loop.stop()
    assert loop._stopping is True
    loop.run_forever()
    assert loop._stopping is False


def test_stopping_can_be_set(loop):
    ran = []
    loop._stopping = True
    loop.call_soon(ran.append, 1)
    loop.run_forever()
    assert ran == [1]
    assert loop._stopping is False


def test_thread_id(loop, turn):
    seen = []
    assert loop._thread_id is None
    loop.call_soon(lambda: seen.append(loop._thread_id))
    turn(loop)
    assert seen == [threading.get_ident()]
    assert loop._thread_id is None


def test_thread_id_is_what_is_running_reads(loop):
    loop._thread_id = 1
    try:
        assert loop.is_running() is True
    finally:
        loop._thread_id = None
    assert loop.is_running() is False


def test_closed(loop):
    assert loop._closed is False
    loop.close()
    assert loop._closed is True


def test_debug(loop):
    loop._debug = True
    assert loop.get_debug() is True
    assert loop.call_soon(print)._source_traceback
    loop._debug = False
    assert loop.get_debug() is False


def test_signal_handlers(loop):
    assert len(loop._signal_handlers) == 0
    loop.add_signal_handler(signal.SIGUSR1, print, 1)
    assert list(loop._signal_handlers) == [signal.SIGUSR1]
    handle = loop._signal_handlers[signal.SIGUSR1]
    assert isinstance(handle, asyncio.Handle)
    assert handle._args == (1,)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert len(loop._signal_handlers) == 0


def test_handle_signal_by_hand(loop, turn):
    ran = []
    loop.add_signal_handler(signal.SIGUSR1, ran.append, 1)
    loop._handle_signal(signal.SIGUSR1)
    loop._handle_signal(signal.SIGUSR2)
    turn(loop)
    loop.remove_signal_handler(signal.SIGUSR1)
    assert ran == [1]


def test_transports(loop):
    async def main():
        mine, peer = socket.socketpair()
        with peer:
            fd = mine.fileno()
            assert fd not in loop._transports
            transport, _ = await loop.create_connection(asyncio.Protocol, sock=mine)
            assert loop._transports[fd] is transport
            transport.close()
            await asyncio.sleep(0)
            return fd in loop._transports, len(loop._transports)

    loop.run_until_complete(main())


def test_exception_handler_and_factory(loop):
    assert loop._exception_handler is None
    assert loop._task_factory is None
    loop.set_exception_handler(print)
    loop.set_task_factory(print)
    assert loop._exception_handler is print
    assert loop._task_factory is print


def test_default_executor(loop):
    assert loop._default_executor is None
    loop.run_until_complete(loop.run_in_executor(None, abs, 1))
    assert loop._default_executor is not None


def test_clock_resolution(loop):
    assert 0 < loop._clock_resolution <= 1e-6


@pytest.mark.parametrize(
    "name",
    [
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_coroutine_origin_tracking_enabled",
        "_current_handle",
        "_executor_shutdown_called",
        "_internal_fds",
        "_unix_server_sockets",
    ],
)
def test_state_of_a_new_loop(same_outcome, name):
    def look(loop):
        value = getattr(loop, name, "absent")
        return value if isinstance(value, int | None) else len(value)

    same_outcome(look)


def test_instance_attributes_of_ones_own(loop):
    loop.mine = 1
    assert vars(loop)["mine"] == 1
    del loop.mine
    assert not hasattr(loop, "mine")


def test_run_once_with_everything(loop):
    ran = []
    reading, writing = os.pipe()
    loop.add_reader(reading, ran.append, "io")
    os.write(writing, b"x")
    loop.call_at(0, ran.append, "timer")
    loop.call_soon(ran.append, "soon")
    loop._run_once()
    loop.remove_reader(reading)
    os.close(reading)
    os.close(writing)
    assert ran == ["soon", "io", "timer"]
