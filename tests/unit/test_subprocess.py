"""Starting children: pipes, Popen's keywords, what a child inherits, errors."""

import asyncio
import fcntl
import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

# An upper bound in seconds.
DEADLINE = 60.0

# For what is taken from /proc/self/status.
STATUS = ("cat", "/proc/self/status")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another")

# A hook cannot be removed: each appends to the list that is there at the time.
forks = []
os.register_at_fork(
    before=lambda: forks.append("before"),
    after_in_parent=lambda: forks.append("after"),
)


@pytest.fixture
def pipe():
    """Both ends of a pipe; those that the test did not close are closed."""
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


@pytest.fixture
def output_of(run):
    """A function that starts a program and returns what it wrote."""

    async def get_output(*command, **options):
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.PIPE, **options
        )
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    return lambda *command, **options: run(get_output(*command, **options))


def field(status, name):
    """The words after *name* in the text of /proc/self/status."""
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return line.split()[1:]


def test_transport_is_of_asyncios_type(loop, run):
    async def main():
        transport, protocol = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "true", stdin=None, stdout=None, stderr=None
        )
        assert isinstance(transport, asyncio.SubprocessTransport)
        assert isinstance(transport, asyncio.base_subprocess.BaseSubprocessTransport)
        assert type(protocol) is asyncio.SubprocessProtocol
        popen = transport.get_extra_info("subprocess")
        assert isinstance(popen, subprocess.Popen)
        assert transport.get_pid() == popen.pid
        code = await transport._wait()
        transport.close()
        return type(transport).__module__, code

    module, returncode = run(main())
    assert returncode == 0
    assert module.partition(".")[0] == type(loop).__module__.partition(".")[0]


def test_communicate_in_both_directions(run):
    data = os.urandom(1 << 20)

    async def main():
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return await process.communicate(data), process.returncode

    assert run(main()) == ((data, None), 0)


def test_stdio_are_pipes(output_of):
    # The test's own stdin may be anything.
    script = "test -p /dev/stdin && test -p /dev/stdout && test -p /dev/stderr"
    output_of("sh", "-c", script, stdin=subprocess.PIPE, stderr=subprocess.PIPE)


def test_pipes_of_the_parent(loop, run):
    async def main():
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")
        kinds = []
        for fd in range(3):
            pipe = transport.get_pipe_transport(fd).get_extra_info("pipe")
            kinds.append(stat.S_ISFIFO(os.fstat(pipe.fileno()).st_mode))
            assert not os.get_inheritable(pipe.fileno())
        transport.get_pipe_transport(0).close()
        assert await transport._wait() == 0
        transport.close()
        return kinds

    assert run(main()) == [True, True, True]


def test_names_of_the_standard_streams_can_be_opened(run):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "cat /dev/stdin >/dev/stdout; echo error >/dev/stderr",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        return await process.communicate(b"input"), process.returncode

    assert run(main()) == ((b"input", b"error\n"), 0)


def test_pass_fds(output_of, pipe):
    os.write(pipe[1], b"passed on")
    os.close(pipe[1])
    assert output_of("cat", f"/dev/fd/{pipe[0]}", pass_fds=(pipe[0],)) == "passed on"


def test_no_descriptor_is_inheritable(loop, run):
    async def main():
        # While one child runs, whatever the loop has for it is open.
        first, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, "cat")
        second = await asyncio.create_subprocess_exec(
            "ls", "/proc/self/fd", stdout=subprocess.PIPE, close_fds=False
        )
        output, _ = await second.communicate()
        first.close()
        await first._wait()
        return {int(name) for name in output.split()}

    # What pytest and what started it have left inheritable, is.
    ours = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.get_inheritable(int(name)):
                ours.add(int(name))
        except OSError:
            continue
    expected = ours | {0, 1, 2}
    # And the descriptor by which ls lists the folder, the lowest free one.
    expected.add(next(fd for fd in range(len(expected) + 1) if fd not in expected))
    assert run(main()) == expected


def test_stderr_to_stdout(output_of):
    script = "echo out; echo err >&2"
    assert output_of("sh", "-c", script, stderr=subprocess.STDOUT) == "out\nerr\n"


def test_devnull(output_of):
    assert output_of("cat", stdin=subprocess.DEVNULL) == ""


@pytest.mark.parametrize("as_file", [False, True], ids=["number", "file"])
def test_file_as_stdin(output_of, tmp_path, as_file):
    path = tmp_path / "input"
    path.write_text("of a file")
    with path.open() as file:
        stdin = file if as_file else file.fileno()
        assert output_of("cat", stdin=stdin) == "of a file"


def test_socket_as_stdin(output_of):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(b"of a socket")
        ours.shutdown(socket.SHUT_WR)
        assert output_of("cat", stdin=theirs) == "of a socket"


def test_cwd_and_env(output_of, tmp_path):
    output = output_of(
        "sh", "-c", 'pwd -P; echo "$NAME"', cwd=tmp_path, env={"NAME": "value"}
    )
    assert output == f"{tmp_path.resolve()}\nvalue\n"


def test_executable(output_of):
    # rloop starts the first argument whatever the executable is.
    assert output_of("a name", "-c", "echo $0", executable="/bin/sh") == "a name\n"


def test_executable_of_the_shell(run):
    async def main():
        process = await asyncio.create_subprocess_shell(
            "unused", stdout=subprocess.PIPE, executable="/bin/echo"
        )
        return (await process.communicate())[0]

    assert run(main()) == b"-c unused\n"


def test_process_group(output_of):
    words = output_of("cat", "/proc/self/stat", process_group=0).split()
    assert words[4] == words[0]  # its own group,
    assert int(words[5]) == os.getsid(0)  # in our session


def test_start_new_session(output_of):
    words = output_of("cat", "/proc/self/stat", start_new_session=True).split()
    assert words[4] == words[5] == words[0]


def test_umask(output_of):
    assert field(output_of(*STATUS, umask=0o027), "Umask") == ["0027"]


@as_root
def test_user_and_groups(output_of):
    status = output_of(*STATUS, user=65534, group=65533, extra_groups=[65531, 65532])
    assert set(field(status, "Uid")) == {"65534"}
    assert set(field(status, "Gid")) == {"65533"}
    assert field(status, "Groups") == ["65531", "65532"]


def test_pipesize(loop, run):
    async def main():
        transport, _ = await loop.subprocess_exec(
            asyncio.SubprocessProtocol, "cat", pipesize=16384
        )
        sizes = [
            fcntl.fcntl(
                transport.get_pipe_transport(fd).get_extra_info("pipe"),
                fcntl.F_GETPIPE_SZ,
            )
            for fd in range(3)
        ]
        transport.close()
        await transport._wait()
        return sizes

    assert run(main()) == [16384] * 3


def test_preexec_fn(output_of):
    assert output_of("sh", "-c", "umask", preexec_fn=lambda: os.umask(0o31)) == "0031\n"


def test_no_hook_of_fork_runs(output_of):
    # They may take locks, and cost time in a program with many of them.
    forks.clear()
    output_of("true")
    assert forks == []
    # Only Python code in the child needs them.
    output_of("true", preexec_fn=int)
    assert forks == ["before", "after"]


@pytest.mark.parametrize("command", ["echo $((6*7))", b"echo $((6*7))"])
def test_shell(run, command):
    async def main():
        process = await asyncio.create_subprocess_shell(command, stdout=subprocess.PIPE)
        return (await process.communicate())[0], process.returncode

    assert run(main()) == (b"42\n", 0)


@pytest.mark.parametrize(
    "options",
    [
        {"universal_newlines": True},
        {"text": True},
        {"encoding": "utf-8"},
        {"errors": "strict"},
        {"bufsize": 1},
        {"shell": True},
        {"cwd": "/no/such/folder"},
        {"executable": "/no/such/program"},
        {"no_such_option": 1},
        {"pipesize": "many"},
        {"pass_fds": (-1,)},
        {"stdin": "a name"},
        {"env": {"A=B": "C"}},
    ],
    ids=str,
)
def test_bad_options(same_outcome, options):
    outcome = same_outcome(
        lambda loop: loop.run_until_complete(
            loop.subprocess_exec(asyncio.SubprocessProtocol, "true", **options)
        )
    )
    assert isinstance(outcome, (ValueError, TypeError, OSError, AttributeError))


@pytest.mark.parametrize("program", ["/no/such/program", "/", 1, None, "nul\0l"])
def test_bad_programs(same_outcome, program):
    outcome = same_outcome(
        lambda loop: loop.run_until_complete(
            loop.subprocess_exec(asyncio.SubprocessProtocol, program)
        )
    )
    assert isinstance(outcome, (ValueError, TypeError, OSError))


def test_factory_that_fails_starts_nothing(same_outcome):
    def factory():
        raise LookupError("no protocol")

    outcome = same_outcome(
        lambda loop: loop.run_until_complete(loop.subprocess_exec(factory, "true"))
    )
    assert isinstance(outcome, LookupError)
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_in_the_loop_of_a_thread(new_loop):
    codes = []

    async def main():
        processes = [
            await asyncio.create_subprocess_shell(
                f"read line; exit {code}", stdin=subprocess.PIPE
            )
            for code in range(5)
        ]
        for process in processes:
            process.stdin.close()
        codes.extend([await process.wait() for process in processes])

    def work():
        loop = new_loop()
        try:
            loop.run_until_complete(asyncio.wait_for(main(), DEADLINE))
        finally:
            loop.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert codes == [0, 1, 2, 3, 4]


def test_debug_mode_logs(loop, run, caplog):
    loop.set_debug(True)

    async def main():
        process = await asyncio.create_subprocess_exec("false")
        return await process.wait()

    with caplog.at_level("DEBUG", "asyncio"):
        assert run(main()) == 1
    messages = [record.getMessage() for record in caplog.records]
    assert any("process 'false' created: pid" in message for message in messages)
    assert any("exited with return code 1" in message for message in messages)


def test_mixed_with_popen_of_its_own(run):
    # Somebody else's child is left alone, also when it ends first.
    async def main():
        theirs = subprocess.Popen(["sh", "-c", "exit 3"])
        os.waitid(os.P_PID, theirs.pid, os.WEXITED | os.WNOWAIT)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-S", "-c", "raise SystemExit(4)"
        )
        assert await process.wait() == 4
        return theirs.wait()

    assert run(main()) == 3
