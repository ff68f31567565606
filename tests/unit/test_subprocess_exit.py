"""The end of a child: how it is noticed, what is told in which order, signals."""

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import weakref

import pytest


class Recorder(asyncio.SubprocessProtocol):
    """Writes down what it is told, and closes its transport at the end."""

    def __init__(self, loop):
        self.told = []
        self.lost = loop.create_future()
        self.exited = loop.create_future()
        self.pipes_lost = {fd: loop.create_future() for fd in range(3)}

    def connection_made(self, transport):
        self.transport = transport
        self.told.append("made")

    def pipe_data_received(self, fd, data):
        self.told.append(("data", fd, data))

    def pipe_connection_lost(self, fd, exc):
        self.told.append(("pipe lost", fd, type(exc)))
        self.pipes_lost[fd].set_result(None)

    def process_exited(self):
        self.told.append("exited")
        self.exited.set_result(None)

    def connection_lost(self, exc):
        self.told.append(("lost", exc))
        self.transport.close()
        self.lost.set_result(None)


@pytest.fixture
def pipe():
    """The descriptors of a pipe, to read and to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def start(loop, script, **options):
    """Have the shell run *script* with a Recorder."""
    return loop.subprocess_exec(lambda: Recorder(loop), "sh", "-c", script, **options)


def wait_for_zombie(pid):
    """Wait until the child has ended, without the loop, and leave it unreaped."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.parametrize("code", [0, 1, 128, 255])
def test_exit_code(loop, run, code):
    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {code}")
        assert await process.wait() == code
        assert await process.wait() == code
        return process.returncode

    assert run(main()) == code


def test_killed_by_a_signal(run):
    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", "kill -USR1 $$")
        return await process.wait()

    assert run(main()) == -signal.SIGUSR1


def test_popen_knows_the_code(loop, run):
    async def main():
        transport, protocol = await start(loop, "read line; exit 3")
        popen = transport.get_extra_info("subprocess")
        assert transport.get_returncode() is None
        transport.get_pipe_transport(0).close()
        await protocol.lost
        assert transport.get_returncode() == 3
        return popen.returncode, popen.poll()

    assert run(main()) == (3, 3)


def test_order_when_the_pipes_close_first(loop, run):
    async def main():
        transport, protocol = await start(
            loop, "echo out; exec >&-; read line; echo err >&2; exec 2>&-; read line"
        )
        await protocol.pipes_lost[1]
        stdin = transport.get_pipe_transport(0)
        stdin.write(b"\n")
        await protocol.pipes_lost[2]
        stdin.write(b"\n")
        await protocol.lost
        return protocol.told

    told = run(main())
    assert told[:5] == [
        "made",
        ("data", 1, b"out\n"),
        ("pipe lost", 1, type(None)),
        ("data", 2, b"err\n"),
        ("pipe lost", 2, type(None)),
    ]
    assert set(told[5:7]) == {"exited", ("pipe lost", 0, type(None))}
    assert told[7:] == [("lost", None)]


def test_order_when_the_pipes_outlive_the_child(same_outcome):
    # What the child left running has its stdin and its stdout.
    async def main(loop):
        transport, protocol = await start(
            loop, "exec 3<&0; cat <&3 & exit 3", stderr=None
        )
        await protocol.exited
        assert protocol.told == ["made", "exited"]
        waiting = asyncio.ensure_future(transport._wait())
        for _ in range(5):
            await asyncio.sleep(0)
        waited = waiting.done()  # differs between versions
        stdin = transport.get_pipe_transport(0)
        stdin.write(b"still there")
        stdin.close()
        await protocol.lost
        return protocol.told, waited, await waiting

    told, _, code = same_outcome(lambda loop: loop.run_until_complete(main(loop)))
    assert code == 3
    assert told[-1] == ("lost", None)
    assert told.count(("lost", None)) == 1
    assert ("data", 1, b"still there") in told


def test_child_that_ends_before_the_pipes_are_connected(loop, run):
    async def main():
        starting = asyncio.ensure_future(start(loop, "echo out; echo err >&2; exit 5"))
        await asyncio.sleep(0)
        # The thread that asyncio of Python 3.11 has for it may be faster.
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        transport, protocol = await starting
        await protocol.lost
        return protocol.told, transport.get_returncode()

    told, code = run(main())
    assert code == 5
    assert told[0] == "made"
    assert told[-1] == ("lost", None)
    assert told.index(("data", 1, b"out\n")) < told.index(("pipe lost", 1, type(None)))
    assert told.index(("data", 2, b"err\n")) < told.index(("pipe lost", 2, type(None)))
    assert sorted(map(str, told)) == sorted(
        map(
            str,
            [
                "made",
                "exited",
                ("data", 1, b"out\n"),
                ("data", 2, b"err\n"),
                *(("pipe lost", fd, type(None)) for fd in range(3)),
                ("lost", None),
            ],
        )
    )


def test_child_that_closes_its_stdin(loop, run, pipe):
    async def main():
        # It runs on until it is told by the other pipe.
        transport, protocol = await start(
            loop,
            f"exec <&-; read line </dev/fd/{pipe[0]}; exit 6",
            pass_fds=(pipe[0],),
            stdout=None,
            stderr=None,
        )
        await protocol.pipes_lost[0]
        assert protocol.told == ["made", ("pipe lost", 0, type(None))]
        assert transport.get_returncode() is None
        os.write(pipe[1], b"\n")
        await protocol.lost
        return transport.get_returncode()

    assert run(main()) == 6


def test_write_flow_control(loop, run):
    class Writer(Recorder):
        def pause_writing(self):
            self.told.append("pause")

        def resume_writing(self):
            self.told.append("resume")
            self.resumed.set_result(None)

    async def main():
        transport, protocol = await loop.subprocess_exec(
            lambda: Writer(loop), "sh", "-c", "read line; cat >/dev/null", stdout=None
        )
        protocol.resumed = loop.create_future()
        stdin = transport.get_pipe_transport(0)
        stdin.write(bytes(1 << 20))
        assert protocol.told == ["made", "pause"]
        stdin.write(b"\n")
        await protocol.resumed
        stdin.close()
        await protocol.lost
        return protocol.told[:3]

    assert run(main()) == ["made", "pause", "resume"]


@pytest.mark.parametrize(
    ("name", "arguments", "number"),
    [
        ("kill", (), signal.SIGKILL),
        ("terminate", (), signal.SIGTERM),
        ("send_signal", (signal.SIGHUP,), signal.SIGHUP),
        ("send_signal", (int(signal.SIGINT),), signal.SIGINT),
    ],
)
def test_signals(loop, run, name, arguments, number):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        getattr(process, name)(*arguments)
        return await process.wait()

    assert run(main()) == -number


def test_signal_by_name_of_the_parameter(loop, run):
    async def main():
        process = await asyncio.create_subprocess_exec("sleep", "1000")
        process._transport.send_signal(signal=0)
        process._transport.send_signal(signal=signal.SIGTERM)
        return await process.wait()

    assert run(main()) == -signal.SIGTERM


@pytest.mark.parametrize("number", [12345, -1, "TERM", None])
def test_bad_signals(loop, run, number):
    async def main():
        process = await asyncio.create_subprocess_exec("cat", stdin=subprocess.PIPE)
        with pytest.raises((OSError, TypeError)) as caught:
            process.send_signal(number)
        process.stdin.close()
        assert await process.wait() == 0
        return caught.type

    assert run(main()) is (OSError if isinstance(number, int) else TypeError)


def test_signals_after_the_end(loop, run):
    async def main():
        transport, protocol = await start(loop, "exec 3<&0; cat <&3 & exit 0")
        await protocol.exited
        # Noticed, but the pipes are still open.
        transport.kill()
        transport.terminate()
        transport.send_signal(signal.SIGHUP)
        transport.get_pipe_transport(0).close()
        await protocol.lost
        for send in (transport.kill, transport.terminate):
            with pytest.raises(ProcessLookupError):
                send()
        with pytest.raises(ProcessLookupError):
            transport.send_signal(signal.SIGHUP)
        return transport.get_returncode()

    assert run(main()) == 0


def test_signal_to_a_child_that_has_ended_unnoticed(evloop_loop, pipe):
    # asyncio of Python 3.11 to 3.13.0 loses the exit code here.
    async def main():
        process = await asyncio.create_subprocess_shell("read line; exit 7", pipe[0])
        os.write(pipe[1], b"\n")
        wait_for_zombie(process.pid)
        process.terminate()
        process.kill()
        return await process.wait()

    assert evloop_loop.run_until_complete(main()) == 7


def test_close_of_a_child_that_has_ended_unnoticed(evloop_loop, pipe, caplog):
    # asyncio loses the exit code here.
    async def main():
        transport, protocol = await start(
            evloop_loop, "read line; exit 7", stdin=pipe[0]
        )
        os.write(pipe[1], b"\n")
        wait_for_zombie(transport.get_pid())
        transport.close()
        await protocol.lost
        return transport.get_returncode()

    assert evloop_loop.run_until_complete(main()) == 7
    assert caplog.messages == []


def test_close_kills(loop, run):
    async def main():
        transport, protocol = await start(loop, "read line")
        assert not transport.is_closing()
        transport.close()
        transport.close()
        assert transport.is_closing()
        await protocol.lost
        transport.close()
        return transport.get_returncode(), protocol.told

    code, told = run(main())
    assert code == -signal.SIGKILL
    assert told[0] == "made"
    assert sorted(told[1:-1], key=str) == sorted(
        ["exited", *(("pipe lost", fd, type(None)) for fd in range(3))], key=str
    )
    assert told[-1] == ("lost", None)


def test_several_end_at_once(loop, run):
    # Each waits for the end of the same pipe.
    ends = os.pipe()

    async def main():
        processes = [
            await asyncio.create_subprocess_shell(
                f"read line; exit {number}", stdin=ends[0]
            )
            for number in range(30)
        ]
        os.close(ends[0])
        os.close(ends[1])
        return await asyncio.gather(*(process.wait() for process in processes))

    assert run(main()) == list(range(30))
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_forgotten_child_is_reaped(loop, run):
    async def main():
        transport, protocol = await start(
            loop, "exit 4", stdin=None, stdout=None, stderr=None
        )
        pid = transport.get_pid()
        reference = weakref.ref(transport)
        lost = protocol.lost
        del transport, protocol
        gc.collect()
        assert reference() is not None
        await lost
        return pid

    pid = run(main())
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_sigchld_is_left_alone(evloop_loop):
    # Before Python 3.14 asyncio's watchers may take it.
    caught = []
    before = signal.signal(signal.SIGCHLD, lambda *args: caught.append(args[0]))
    try:

        async def main():
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            return await process.wait()

        handler = signal.getsignal(signal.SIGCHLD)
        assert evloop_loop.run_until_complete(main()) == 3
        assert signal.getsignal(signal.SIGCHLD) is handler
        assert signal.set_wakeup_fd(-1) == -1
    finally:
        signal.signal(signal.SIGCHLD, before)
    assert caught == [signal.SIGCHLD]


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has no watchers")
def test_no_watcher_is_made(evloop_loop):
    asyncio.set_event_loop_policy(None)

    async def main():
        process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
        return await process.wait()

    assert evloop_loop.run_until_complete(main()) == 3
    assert asyncio.get_event_loop_policy()._watcher is None


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="asyncio has no watchers")
@pytest.mark.filterwarnings("ignore:.*ChildWatcher:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.*child_watcher:DeprecationWarning")
class TestOwnWatcher:
    """A watcher that the program has set is used, as in asyncio."""

    @pytest.fixture(autouse=True)
    def other_policy(self):
        asyncio.set_event_loop_policy(None)
        yield
        asyncio.set_event_loop_policy(None)

    def start_one(self, run):
        async def main():
            process = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            return await process.wait()

        return run(main())

    def test_of_ones_own(self, run):
        class Watcher(asyncio.ThreadedChildWatcher):
            watched = 0

            def add_child_handler(self, *args):
                self.watched += 1
                super().add_child_handler(*args)

        watcher = Watcher()
        asyncio.set_child_watcher(watcher)
        assert self.start_one(run) == 3
        assert watcher.watched == 1

    def test_that_reaps_every_child(self, loop, run):
        watcher = asyncio.FastChildWatcher()
        watcher.attach_loop(loop)
        asyncio.set_child_watcher(watcher)
        try:
            assert self.start_one(run) == 3
        finally:
            watcher.close()

    def test_that_is_not_active(self, run):
        asyncio.set_child_watcher(asyncio.SafeChildWatcher())
        with pytest.raises(RuntimeError, match="not activated"):
            self.start_one(run)
