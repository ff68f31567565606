"""Every example prints the same under plain Python and under evloop."""

import datetime
import itertools
import re
import signal
import socket
import sys

import pytest

# Its examples call asyncio.get_event_loop() at top level, as Python 3.14 and
# later refuse to; evloop runs them on every version.
NEEDS_A_LOOP_ON_DEMAND = {
    "hello_world.py",
    "display_date.py",
    "watch_fd.py",
    "signals.py",
}

HELLO = {
    "hello_world.py": "Hello World\n",
    "hello_coroutine.py": "Hello World!\n",
    "watch_fd.py": "Received: abc\n",
    "register_socket_protocol.py": "Received: abc\n",
    "register_socket_streams.py": "Received: abc\n",
    "tcp_echo.py": """\
Event loop: LOOP
Serving on ADDRESS
client 1: 1000 of 1000 messages came back
client 2: 1000 of 1000 messages came back
client 3: 1000 of 1000 messages came back
Connections accepted: 3
Bytes: 72000 sent, 72000 echoed
""",
}

DATES = ("display_date.py", "date_coroutine.py")

SIGNALS = """\
Event loop running forever, press Ctrl+C to interrupt.
pid PID: send SIGINT or SIGTERM to exit.
got signal {}: exit
"""

PAIRS = {
    "tcp": (
        """\
Serving on ADDRESS
Connection from ADDRESS
Data received: 'Hello World!'
Closing the connection
Server closed
""",
        """\
Data sent: 'Hello World!'
Data received: 'Hello World!'
The server closed the connection
""",
    ),
    "udp": (
        """\
Serving on ADDRESS
Received 'This is the message.' from ADDRESS
Sending 'This is the message.' to ADDRESS
Server closed
""",
        """\
Sending: 'This is the message.'
Received: 'This is the message.'
Closing the socket
Socket closed
""",
    ),
}


def same(text):
    """*text* without what differs from run to run."""
    text = re.sub(r"127\.0\.0\.1:\d+", "ADDRESS", text)
    text = re.sub(r"pid \d+", "pid PID", text)
    return re.sub(r"(?<=Event loop: )\S+", "LOOP", text)


def can_run(runner, name):
    """Whether this interpreter, if plain, still runs the example."""
    plain = "evloop" not in runner
    return not (
        plain and name in NEEDS_A_LOOP_ON_DEMAND and sys.version_info >= (3, 14)
    )


def check_stderr(runner, name, stderr):
    """Nothing is printed there, but for the warning of Python 3.12 and 3.13."""
    if "evloop" in runner or name not in NEEDS_A_LOOP_ON_DEMAND:
        assert stderr == ""
    else:
        assert stderr == "" or "There is no current event loop" in stderr


@pytest.mark.parametrize("name", HELLO)
def test_prints(spawn, runner, examples, name):
    outcome = spawn(*runner, examples / name).outcome()
    if not can_run(runner, name):
        assert outcome.returncode == 1
        assert "There is no current event loop" in outcome.stderr
        return
    assert same(outcome.stdout) == HELLO[name]
    assert outcome.returncode == 0
    check_stderr(runner, name, outcome.stderr)


def test_runs_on_the_loop_it_names(run_both, examples):
    plain, native = run_both(examples / "tcp_echo.py")
    assert plain.stdout.startswith("Event loop: asyncio.")
    assert native.stdout.startswith("Event loop: evloop.")


def test_dates(spawn, examples):
    # All at the same time, for each takes four seconds.
    python, evloop = (sys.executable,), (sys.executable, "-m", "evloop")
    programs = {
        (runner, name): spawn(*runner, examples / name)
        for runner in (python, evloop)
        for name in DATES
        if can_run(runner, name)
    }
    for (runner, name), program in programs.items():
        outcome = program.outcome()
        assert outcome.returncode == 0
        check_stderr(runner, name, outcome.stderr)
        lines = outcome.stdout.splitlines()
        dates = [datetime.datetime.fromisoformat(line) for line in lines]
        gaps = [
            (later - earlier).total_seconds()
            for earlier, later in itertools.pairwise(dates)
        ]
        assert all(gap > 0.99 for gap in gaps)
        # A machine that is late by a second in all prints one date less.
        lateness = sum(gaps) - len(gaps)
        assert len(dates) == 5 or lateness > 0.5


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals(spawn, runner, examples, signum):
    if not can_run(runner, "signals.py"):
        pytest.skip("plain Python 3.14 and later refuse to run it")
    # The listing does not flush what it prints.
    unbuffered = {"PYTHONUNBUFFERED": "1"}
    program = spawn(*runner, examples / "signals.py", env=unbuffered)
    printed = program.read_line() + program.read_line()
    assert f"pid {program.pid}:" in printed
    program.send_signal(signum)
    outcome = program.outcome()
    assert same(printed + outcome.stdout) == SIGNALS.format(signum.name)
    assert outcome.returncode == 0
    check_stderr(runner, "signals.py", outcome.stderr)


@pytest.fixture(params=["python", "evloop"])
def client_runner(request):
    """As ``runner``, for the client of a pair."""
    return (sys.executable, *{"python": (), "evloop": ("-m", "evloop")}[request.param])


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", PAIRS)
def test_pairs(spawn, runner, client_runner, examples, kind, signum):
    server = spawn(*runner, examples / f"{kind}_echo_server.py", 0)
    serving = server.read_line()
    port = serving.rstrip().rpartition(":")[2]
    client = spawn(*client_runner, examples / f"{kind}_echo_client.py", port).outcome()
    server.send_signal(signum)
    served = server.outcome()
    server_prints, client_prints = PAIRS[kind]
    assert same(serving + served.stdout) == server_prints
    assert same(client.stdout) == client_prints
    assert (served.returncode, served.stderr) == (0, "")
    assert (client.returncode, client.stderr) == (0, "")


def test_tcp_server_ends_with_a_client_connected(spawn, runner, examples):
    server = spawn(*runner, examples / "tcp_echo_server.py", 0)
    port = int(server.read_line().rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as client:
        # Not before the connection is accepted: the server has answered.
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        with socket.create_connection(("127.0.0.1", port)):
            server.send_signal(signal.SIGTERM)
            outcome = server.outcome()
    # The second connection may be accepted last of all.
    assert "Server closed\n" in outcome.stdout
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_udp_client_without_a_server(spawn, runner, examples):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unconnected:
        unconnected.bind(("127.0.0.1", 0))
        port = unconnected.getsockname()[1]
    outcome = spawn(*runner, examples / "udp_echo_client.py", port).outcome()
    assert "Error received: [Errno 111] Connection refused" in outcome.stdout
    assert outcome.stdout.endswith("Socket closed\n")
    assert (outcome.returncode, outcome.stderr) == (0, "")


def test_every_example_is_run(examples):
    named = {*HELLO, *DATES, "signals.py"}
    for kind in PAIRS:
        named |= {f"{kind}_echo_server.py", f"{kind}_echo_client.py"}
    assert {path.name for path in examples.glob("*.py")} == named
