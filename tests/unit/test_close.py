"""close: idempotent, empties the queues, and what a closed loop refuses."""

import asyncio
import gc
import os
import weakref

import pytest

import evloop


class Marker:
    def __call__(self):
        raise AssertionError("a closed loop ran it")


def test_idempotent(loop):
    assert loop.is_closed() is False
    assert loop.close() is None
    assert loop.is_closed() is True
    assert loop.close() is None


def test_while_running(loop):
    def close():
        with pytest.raises(RuntimeError, match=r"^Cannot close a running event loop$"):
            loop.close()
        loop.stop()

    loop.call_soon(close)
    loop.run_forever()
    assert not loop.is_closed()


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_queues_are_emptied(loop, method):
    marker = Marker()
    gone = weakref.ref(marker)
    args = (0,) if method == "call_later" else ()
    getattr(loop, method)(*args, marker)
    del marker
    gc.collect()
    assert gone() is not None
    loop.close()
    gc.collect()
    assert gone() is None
    assert len(loop._ready) == 0
    assert len(loop._scheduled) == 0


def test_watched_callbacks_are_released(loop):
    marker = Marker()
    gone = weakref.ref(marker)
    reading, writing = os.pipe()
    loop.add_reader(reading, marker)
    del marker
    loop.close()
    gc.collect()
    assert gone() is None
    os.close(reading)
    os.close(writing)


def test_handles_outlive_the_loops_queues(loop):
    soon, later = loop.call_soon(print), loop.call_later(1, print)
    loop.close()
    soon.cancel()
    later.cancel()
    assert soon.cancelled() and later.cancelled()
    assert "cancelled" in repr(later)


def test_handle_run_by_hand_on_a_closed_loop(loop):
    ran = []
    handle = loop.call_soon(ran.append, 1)
    loop.close()
    handle._run()
    assert ran == [1]


REFUSED = {
    "run_forever": (),
    "call_soon": (print,),
    "call_soon_threadsafe": (print,),
    "call_later": (1, print),
    "call_at": (1, print),
    "run_in_executor": (None, print),
    "add_reader": (0, print),
    "add_writer": (0, print),
    "_add_reader": (0, print),
    "_add_writer": (0, print),
    "add_signal_handler": (10, print),
    "_check_closed": (),
}


@pytest.mark.parametrize("method", REFUSED)
def test_refused_by_a_closed_loop(loop, method):
    loop.close()
    with pytest.raises(RuntimeError, match=r"^Event loop is closed$"):
        getattr(loop, method)(*REFUSED[method])


ALLOWED = {
    "stop": (),
    "is_running": (),
    "is_closed": (),
    "time": (),
    "get_debug": (),
    "set_debug": (True,),
    "create_future": (),
    "remove_reader": (0,),
    "remove_writer": (0,),
    "remove_signal_handler": (10,),
    "set_task_factory": (None,),
    "get_task_factory": (),
    "set_exception_handler": (None,),
    "get_exception_handler": (),
}


@pytest.mark.parametrize("method", ALLOWED)
def test_allowed_on_a_closed_loop(same_outcome, method):
    def call(loop):
        loop.close()
        return type(getattr(loop, method)(*ALLOWED[method])).__name__

    same_outcome(call)


def test_exceptions_are_still_reported(loop, caplog):
    loop.close()
    loop.call_exception_handler({"message": "late"})
    assert caplog.messages == ["late"]


def test_pending_task_of_a_closed_loop(loop, reported):
    async def forever():
        await loop.create_future()

    task = loop.create_task(forever())
    loop.stop()
    loop.run_forever()
    contexts = reported(loop)
    loop.close()
    del task
    gc.collect()
    assert [c["message"] for c in contexts] == ["Task was destroyed but it is pending!"]


def test_descriptors_are_given_back(loop_class):
    before = len(os.listdir("/proc/self/fd"))
    loops = [loop_class() for _ in range(20)]
    assert len(os.listdir("/proc/self/fd")) > before
    for loop in loops:
        loop.call_soon_threadsafe(print)
        loop.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_subclasss_close_runs_first(loop_class, new_loop):
    steps = []

    class Loop(loop_class):
        def close(self):
            steps.append(self.is_closed())
            super().close()
            steps.append(self.is_closed())

    loop = new_loop(Loop)
    loop.close()
    assert steps == [False, True]


def test_closed_by_runner_and_by_run(loop_class):
    async def main():
        return asyncio.get_running_loop()

    with asyncio.Runner(loop_factory=loop_class) as runner:
        loop = runner.run(main())
    assert loop.is_closed()
    assert evloop.run(main()).is_closed()
