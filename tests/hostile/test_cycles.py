"""Reference cycles through loops, handles and callbacks; weak references."""

import asyncio
import gc
import socket
import warnings
import weakref

import pytest

import evloop


@pytest.fixture
def collected():
    """A function that collects garbage and tells whether an object is gone."""

    def look(reference):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()
            gc.collect()
        return reference() is None

    return look


SCHEDULERS = {
    "call_soon": lambda loop, callback: loop.call_soon(callback, loop),
    "threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback, loop),
    "call_later": lambda loop, callback: loop.call_later(3600, callback, loop),
    "exception handler": lambda loop, callback: loop.set_exception_handler(callback),
    "task factory": lambda loop, callback: loop.set_task_factory(callback),
    "attribute": lambda loop, callback: setattr(loop, "callback", callback),
}


@pytest.mark.parametrize("closed", [False, True], ids=["unclosed", "closed"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_cycle_of_loop_and_callback(loop_class, collected, scheduler, closed):
    loop = loop_class()

    def callback(*args):
        return loop, handle

    handle = SCHEDULERS[scheduler](loop, callback)
    if closed:
        loop.close()
    gone = weakref.ref(loop)
    callback = handle = loop = None
    assert collected(gone)


def test_cycle_through_a_reader(loop_class, collected):
    loop = loop_class()
    mine, peer = socket.socketpair()

    def callback():
        return loop

    loop.add_reader(mine, callback)
    loop.add_writer(mine, callback)
    gone = weakref.ref(loop)
    callback = loop = None
    assert collected(gone)
    mine.close()
    peer.close()


def test_cycle_through_a_task(loop_class, collected, caplog):
    loop = loop_class()

    async def forever():
        await loop.create_future()

    task = loop.create_task(forever())
    loop.stop()
    loop.run_forever()
    gone, task_gone = weakref.ref(loop), weakref.ref(task)
    forever = loop = task = None
    assert collected(gone)
    assert collected(task_gone)
    assert "Task was destroyed but it is pending!" in caplog.text


def test_cycle_of_handle_and_its_arguments(loop, turn, collected):
    arguments = []
    handle = loop.call_soon(len, arguments)
    arguments.append(handle)
    gone = weakref.ref(handle)
    turn(loop)
    del handle, arguments
    assert collected(gone)


def test_cycle_of_cancelled_timer(loop, collected):
    def callback():
        return handle

    handle = loop.call_later(3600, callback)
    handle.cancel()
    # Nothing of the callback may hang on the timer that still waits its turn.
    gone = weakref.ref(callback)
    del callback
    assert collected(gone)


def test_cycle_through_an_exception(loop, turn, collected):
    # The traceback of a failed callback must not tie up the loop's own frames.
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    loop.set_exception_handler(lambda *args: None)

    def fail(marker):
        raise LookupError

    loop.call_soon(fail, marker)
    turn(loop)
    del marker
    assert collected(gone)


def test_exception_that_ended_the_run(loop, collected):
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)

    def leave(marker):
        raise KeyboardInterrupt

    loop.call_soon(leave, marker)
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        """What it holds goes when this block ends."""
    del marker
    assert collected(gone)


def test_weak_references(loop_class, collected):
    loop = loop_class()
    fired = []
    reference = weakref.ref(loop, fired.append)
    assert reference() is loop
    assert loop in weakref.WeakSet([loop])
    loop.close()
    del loop
    assert collected(reference)
    assert fired == [reference]


def test_handle_outlives_its_loop(loop_class, collected):
    loop = loop_class()
    handles = [loop.call_soon(print), loop.call_later(1, print)]
    loop.close()
    # A handle holds its loop.
    reference = weakref.ref(loop)
    del loop
    assert not collected(reference)
    for handle in handles:
        handle.cancel()
        assert "cancelled" in repr(handle)
    del handle
    handles.clear()
    assert collected(reference)


def test_collection_in_the_midst_of_a_batch(loop, turn):
    ran = []
    for number in range(50):
        cycle = [number]
        cycle.append(cycle)
        loop.call_soon(lambda cycle: (gc.collect(0), ran.append(cycle[0])), cycle)
        loop.call_at(0, gc.collect, 0)
    turn(loop)
    assert ran == list(range(50))


def test_every_object_is_tracked(loop_class):
    loop = loop_class()
    handle, timer = loop.call_soon(print), loop.call_later(1, print)
    for one in (loop, handle, timer):
        assert gc.is_tracked(one)
    assert any(each is loop for each in gc.get_referents(handle))
    assert any(each is loop for each in gc.get_referents(timer))
    loop.close()


def test_loop_resurrected_by_its_finalizer():
    # asyncio's has lost its sockets to the collector by then.
    kept = []

    class Undead(evloop.EventLoop):
        def __del__(self):
            kept.append(self)

    Undead()
    gc.collect()
    (loop,) = kept
    assert loop.run_until_complete(asyncio.sleep(0, 5)) == 5
    loop.close()
