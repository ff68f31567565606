"""Children under faults: cancellation, foreign reaping, no pidfd, a closed loop."""

import asyncio
import errno
import fcntl
import gc
import os
import signal
import struct
import subprocess
import sys
import termios
import threading

import pytest

# An upper bound in seconds.
DEADLINE = 60.0

# More turns of the loop than starting a child takes.
TURNS = 16

PIPES = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)


def descriptors():
    """The open descriptors, but for the one that lists them."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:
            continue
        found.add(int(name))
    return found


def bytes_to_read(fd):
    """Return how many bytes are in a pipe."""
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def assert_no_child():
    with pytest.raises(ChildProcessError):
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)


async def settle(before):
    """Wait until nothing is left of children, in the system or in the loop."""
    while True:
        await asyncio.sleep(0.001)
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            connecting = [
                task
                for task in asyncio.all_tasks()
                if task.get_coro().__name__ == "_connect_all_pipes"
            ]
            if not connecting and descriptors() == before:
                return


@pytest.fixture
def run(evloop_loop):
    """A function that runs a coroutine on evloop, with an upper bound of time."""
    return lambda coro: evloop_loop.run_until_complete(asyncio.wait_for(coro, DEADLINE))


@pytest.fixture
def pipe():
    """The descriptors of a pipe, to read and to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


@pytest.fixture
def stock_watcher(loop):
    """Have asyncio notice the end of a child in the loop's thread, as evloop does."""
    if sys.version_info >= (3, 12) or type(loop) is not asyncio.SelectorEventLoop:
        yield
        return
    with asyncio.PidfdChildWatcher() as watcher:
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)
        yield
    asyncio.set_event_loop_policy(None)


# -- Cancelled ----------------------------------------------------------------


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("everything", [False, True], ids=["one task", "every task"])
@pytest.mark.parametrize("turns", range(TURNS))
def test_cancelled_start(evloop_loop, run, turns, everything, eager):
    """Nothing is left when the CancelledError arrives, however early or late."""
    if eager:
        if sys.version_info < (3, 12):
            pytest.skip("asyncio has no eager tasks")
        evloop_loop.set_task_factory(asyncio.eager_task_factory)

    async def start():
        return await asyncio.create_subprocess_exec("cat", **PIPES)

    async def main():
        before = descriptors()
        others = asyncio.all_tasks()
        starting = asyncio.ensure_future(start())
        for _ in range(turns):
            await asyncio.sleep(0)
        if everything:
            for task in asyncio.all_tasks() - others:
                task.cancel()
        else:
            starting.cancel()
        try:
            process = await starting
        except asyncio.CancelledError:
            assert_no_child()
            assert descriptors() == before
            return False
        process.kill()
        await process.communicate()
        return True

    started = run(main())
    if not 0 < turns < TURNS - 1:
        assert started is (turns > 0)
    assert_no_child()


@pytest.mark.parametrize("turns", range(1, TURNS))
def test_cancelled_twice(evloop_loop, run, turns):
    async def main():
        before = descriptors()
        starting = asyncio.ensure_future(asyncio.create_subprocess_exec("cat", **PIPES))
        await asyncio.sleep(0)
        starting.cancel()
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        # The second ends the waiting, but not what is waited for.
        await settle(before)

    run(main())


def test_cancelled_while_a_grandchild_has_the_pipes(evloop_loop, run, pipe):
    async def main():
        before = descriptors()
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_shell(
                f"cat </dev/fd/{pipe[0]} & wait", **PIPES, pass_fds=pipe[:1]
            )
        )
        await asyncio.sleep(0)
        # Not before the grandchild is there: it takes what is in the pipe.
        os.write(pipe[1], b"taken")
        while bytes_to_read(pipe[0]):
            os.sched_yield()
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert descriptors() == before

    run(main())


def test_cancelled_with_unsent_data(evloop_loop, run, pipe):
    # A grandchild keeps stdin open and never reads it.
    class Protocol(asyncio.SubprocessProtocol):
        def connection_made(self, transport):
            transport.get_pipe_transport(0).write(bytes(1 << 20))
            starting.cancel()

        def pause_writing(self):
            pass

    async def main():
        nonlocal starting
        before = descriptors()
        starting = asyncio.ensure_future(
            evloop_loop.subprocess_exec(
                Protocol,
                *("sh", "-c", f"exec 3<&0; cat </dev/fd/{pipe[0]} & wait"),
                pass_fds=pipe[:1],
                stdout=None,
                stderr=None,
            )
        )
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert descriptors() == before

    starting = None
    run(main())


def test_closed_coroutine(evloop_loop, run):
    """A start that is thrown away kills the child, and it is reaped."""
    coro = evloop_loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")

    async def main():
        before = descriptors()
        coro.send(None)
        coro.close()
        await settle(before)

    run(main())


@pytest.mark.parametrize("name", ["connect_read_pipe", "connect_write_pipe"])
@pytest.mark.parametrize("error", [OSError, LookupError])
def test_pipe_that_cannot_be_connected(evloop_loop, run, name, error):
    async def fail(*args):
        await asyncio.sleep(0)
        raise error("no pipe")

    async def main():
        before = descriptors()
        with pytest.raises(error, match="no pipe"):
            await asyncio.create_subprocess_exec("cat", **PIPES)
        assert_no_child()
        # What was connected closes in the turn after the child's end.
        await asyncio.sleep(0)
        assert descriptors() == before

    setattr(evloop_loop, name, fail)
    run(main())


# -- Reaped by somebody else --------------------------------------------------


@pytest.mark.usefixtures("stock_watcher")
def test_child_reaped_by_somebody_else(loop, caplog, pipe):
    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 3", pipe[0])
        os.write(pipe[1], b"\n")
        assert os.waitpid(process.pid, 0) == (process.pid, 3 << 8)
        return process.pid, await process.wait()

    pid, returncode = loop.run_until_complete(asyncio.wait_for(main(), DEADLINE))
    assert returncode == 255
    assert caplog.messages == [
        f"child process pid {pid} exit status already read:  will report returncode 255"
    ]


@pytest.mark.usefixtures("stock_watcher")
def test_close_after_somebody_else_has_reaped(loop, pipe):
    async def main():
        transport, _ = await loop.subprocess_shell(
            asyncio.SubprocessProtocol,
            "read line; exit 3",
            stdin=pipe[0],
            stdout=None,
            stderr=None,
        )
        os.write(pipe[1], b"\n")
        os.waitpid(transport.get_pid(), 0)
        transport.close()
        return await transport._wait()

    assert loop.run_until_complete(asyncio.wait_for(main(), DEADLINE)) == 255


@pytest.mark.usefixtures("stock_watcher")
def test_signal_after_somebody_else_has_reaped(loop, pipe):
    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 3", pipe[0])
        os.write(pipe[1], b"\n")
        os.waitpid(process.pid, 0)
        process.send_signal(signal.SIGKILL)
        process.terminate()
        return await process.wait()

    assert loop.run_until_complete(asyncio.wait_for(main(), DEADLINE)) == 255


def test_no_signal_goes_to_a_number_of_the_past(evloop_loop, run, pipe, monkeypatch):
    """Who reaped a child frees its number for another process."""

    class Protocol(asyncio.SubprocessProtocol):
        def process_exited(self):
            transport.kill()
            exited.set_result(None)

    async def main():
        nonlocal exited, transport
        exited = evloop_loop.create_future()
        transport, _ = await evloop_loop.subprocess_shell(
            Protocol, "read line", stdin=pipe[0], stdout=None, stderr=None
        )
        monkeypatch.setattr(os, "kill", lambda *args: killed.append(args))
        os.write(pipe[1], b"\n")
        os.waitpid(transport.get_pid(), 0)
        transport.terminate()
        await exited
        transport.close()

    exited = transport = None
    killed = []
    run(main())
    assert killed == []


def test_child_waited_for_by_its_popen(evloop_loop, run, caplog):
    """Popen's own wait() in a thread loses nothing; asyncio reports 255."""

    async def main():
        transport, _ = await evloop_loop.subprocess_shell(
            asyncio.SubprocessProtocol, "read line; exit 3", stdout=None, stderr=None
        )
        popen = transport.get_extra_info("subprocess")
        waiting = evloop_loop.run_in_executor(None, popen.wait)
        transport.get_pipe_transport(0).close()
        return await asyncio.gather(transport._wait(), waiting)

    assert run(main()) == [3, 3]
    assert caplog.messages == []


def test_children_that_the_kernel_reaps(evloop_loop, run):
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:

        async def main():
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            return await process.wait()

        assert run(main()) == 255
    finally:
        signal.signal(signal.SIGCHLD, before)


# -- Without pidfds -----------------------------------------------------------


@pytest.fixture(params=["missing", "ENOSYS", "EPERM", "EMFILE", "unwatched"])
def no_pidfd(request, monkeypatch, evloop_loop):
    """No pidfd can be had, or none be watched."""
    if request.param == "missing":
        monkeypatch.delattr(os, "pidfd_open")
    elif request.param == "unwatched":
        opened = []

        def pidfd_open(pid, open_it=os.pidfd_open):
            opened.append(open_it(pid))
            return opened[-1]

        def add_reader(fd, *args):
            if fd in opened:
                raise OSError(errno.ENOSPC, "too many are watched")
            return type(evloop_loop)._add_reader(evloop_loop, fd, *args)

        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
        monkeypatch.setattr(evloop_loop, "_add_reader", add_reader)
    else:
        code = getattr(errno, request.param)

        def refuse(pid, flags=0):
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr(os, "pidfd_open", refuse)


def waiting_threads():
    return [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith("evloop-waitpid-")
    ]


@pytest.mark.usefixtures("no_pidfd")
class TestThread:
    """A thread waits for each child then."""

    def test_exit_codes(self, run):
        async def main():
            processes = [
                await asyncio.create_subprocess_shell(
                    f"read line; exit {code}", subprocess.PIPE
                )
                for code in range(4)
            ]
            assert len(waiting_threads()) == 4
            assert all(thread.daemon for thread in waiting_threads())
            for process in processes:
                process.stdin.close()
            return [await process.wait() for process in processes]

        assert run(main()) == [0, 1, 2, 3]
        assert_no_child()

    def test_signals(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("sleep", "1000")
            process.terminate()
            with pytest.raises(OSError, match="Invalid argument"):
                process.send_signal(12345)
            assert await process.wait() == -signal.SIGTERM
            with pytest.raises(ProcessLookupError):
                # From Python 3.14 on wait() does not wait for connection_lost().
                while True:
                    process.kill()
                    await asyncio.sleep(0)

        run(main())

    def test_cancelled(self, run):
        async def main():
            before = descriptors()
            starting = asyncio.ensure_future(
                asyncio.create_subprocess_exec("cat", **PIPES)
            )
            await asyncio.sleep(0)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert descriptors() == before

        run(main())
        assert_no_child()

    def test_reaped_by_somebody_else(self, run, caplog, pipe):
        async def main():
            process = await asyncio.create_subprocess_shell(
                "read line; exit 3", pipe[0]
            )
            os.write(pipe[1], b"\n")
            os.waitpid(process.pid, 0)
            return await process.wait()

        assert run(main()) == 255
        (message,) = caplog.messages
        assert "will report returncode 255" in message

    def test_loop_closed_before_the_child_ends(self, run, evloop_loop, caplog, pipe):
        async def main():
            return await asyncio.create_subprocess_shell("read line; exit 3", pipe[0])

        process = run(main())
        popen = process._transport.get_extra_info("subprocess")
        evloop_loop.close()
        (thread,) = waiting_threads()
        os.write(pipe[1], b"\n")
        thread.join()
        assert popen.returncode == 3
        assert_no_child()
        (message,) = caplog.messages
        assert f"handles pid {process.pid} is closed" in message
        process._transport.close()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_neither_pidfd_nor_thread(run, monkeypatch):
    def fail(*args):
        raise RuntimeError("can't start new thread")

    async def main():
        before = descriptors()
        with pytest.raises(RuntimeError, match="new thread"):
            await asyncio.create_subprocess_exec("cat", **PIPES)
        assert descriptors() == before
        assert_no_child()

    with monkeypatch.context() as patch:
        patch.delattr(os, "pidfd_open")
        patch.setattr(threading.Thread, "start", fail)
        run(main())


def test_neither_pidfd_nor_thread_nor_permission(run, monkeypatch, caplog):
    """A child that cannot be killed is not waited for."""
    kill = os.kill

    def fail(*args):
        raise RuntimeError("can't start new thread")

    def refuse(*args):
        raise PermissionError(errno.EPERM, "runs as another user")

    async def main():
        before = descriptors()
        with pytest.raises(RuntimeError, match="new thread"):
            await asyncio.create_subprocess_exec("sleep", "1000")
        assert descriptors() == before

    with monkeypatch.context() as patch:
        patch.delattr(os, "pidfd_open")
        patch.setattr(threading.Thread, "start", fail)
        patch.setattr(os, "kill", refuse)
        run(main())
    # In debug mode a log record has the transport.
    caplog.clear()
    gc.collect()
    # It is reaped by what reaps the children of a forgotten Popen.
    [forgotten] = subprocess._active
    kill(forgotten.pid, signal.SIGKILL)
    while subprocess._active:
        subprocess._cleanup()
    assert_no_child()


def test_task_factory_that_fails(evloop_loop, run):
    """The child, started before the task, is killed and reaped."""

    def factory(loop, coro, **options):
        coro.close()
        raise LookupError("no task")

    async def main():
        before = descriptors()
        evloop_loop.set_task_factory(factory)
        with pytest.raises(LookupError, match="no task"):
            await evloop_loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")
        evloop_loop.set_task_factory(None)
        await settle(before)

    run(main())


def test_signals_without_pidfd_send_signal(run, monkeypatch):
    def refuse(*args):
        raise PermissionError(errno.EPERM, "forbidden by a sandbox")

    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process.terminate()
        return await process.wait()

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert run(main()) == -signal.SIGTERM


# -- Loops and many children --------------------------------------------------


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("options", [{}, PIPES], ids=["no pipes", "pipes"])
def test_loop_closed_while_a_child_runs(evloop_loop, run, options):
    async def main():
        return await asyncio.create_subprocess_exec("sleep", "1000", **options)

    process = run(main())
    popen = process._transport.get_extra_info("subprocess")
    evloop_loop.close()
    with pytest.warns(ResourceWarning, match="unclosed transport <Subprocess"):
        del process
        gc.collect()
    assert popen.wait() == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_loop_closed_at_once_after_close(evloop_loop, run):
    async def main():
        transport, _ = await evloop_loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "1000", stdin=None
        )
        return transport

    transport = run(main())
    popen = transport.get_extra_info("subprocess")
    transport.close()
    evloop_loop.close()
    # The pipes had no turn to close in; the check for leaks sees to them.
    assert popen.wait() == -signal.SIGKILL


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_close_on_a_closed_loop(evloop_loop, run):
    async def main():
        transport, _ = await evloop_loop.subprocess_exec(
            asyncio.SubprocessProtocol, "sleep", "1000", stdout=None, stderr=None
        )
        return transport

    transport = run(main())
    popen = transport.get_extra_info("subprocess")
    evloop_loop.close()
    transport.close()
    assert popen.wait() == -signal.SIGKILL


def test_protocol_that_raises(loop, reported):
    contexts = reported(loop)
    lost = loop.create_future()

    class Protocol(asyncio.SubprocessProtocol):
        def connection_made(self, transport):
            raise ValueError("made")

        def pipe_data_received(self, fd, data):
            raise ValueError("data")

        def pipe_connection_lost(self, fd, exc):
            raise ValueError("pipe")

        def process_exited(self):
            raise ValueError("exited")

        def connection_lost(self, exc):
            lost.set_result(None)
            raise ValueError("lost")

    async def main():
        transport, _ = await loop.subprocess_shell(
            Protocol, "echo out", stdin=None, stderr=None
        )
        code = await transport._wait()
        await lost
        return code

    assert loop.run_until_complete(asyncio.wait_for(main(), DEADLINE)) == 0
    texts = sorted(str(context["exception"]) for context in contexts)
    assert texts == ["data", "exited", "lost", "made", "pipe"]


def test_protocol_that_closes_in_every_method(loop):
    class Protocol(asyncio.SubprocessProtocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.close()

        def pipe_data_received(self, fd, data):
            self.transport.close()

        def pipe_connection_lost(self, fd, exc):
            self.transport.close()

        def process_exited(self):
            self.transport.close()

        def connection_lost(self, exc):
            self.transport.close()
            self.lost = True

    async def main():
        transport, protocol = await loop.subprocess_shell(
            Protocol, "echo out; read line"
        )
        assert await transport._wait() == -signal.SIGKILL
        while not hasattr(protocol, "lost"):
            await asyncio.sleep(0)

    loop.run_until_complete(asyncio.wait_for(main(), DEADLINE))


def test_500_children(evloop_loop, run, pipe):
    """All at once; they leave no zombie and no descriptor."""
    before = descriptors()

    async def main():
        processes = [
            await asyncio.create_subprocess_shell(
                f"read line; exit {number % 200}", pipe[0]
            )
            for number in range(500)
        ]
        assert waiting_threads() == []
        os.write(pipe[1], b"\n" * 500)
        return await asyncio.gather(*(process.wait() for process in processes))

    assert run(main()) == [number % 200 for number in range(500)]
    assert_no_child()
    assert descriptors() == before
