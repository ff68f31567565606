"""The benchmarks' TLS servers, and the load on them."""

import importlib
import json
import os
import shutil
import socket
import ssl
import sys
import threading
from pathlib import Path

import pytest

# Not installed, so the checkout has to be on the path; appended, it leaves an
# installed evloop where it is.
ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

command = importlib.import_module("benchmarks.__main__")
loops = importlib.import_module("benchmarks.loops")
native = importlib.import_module("benchmarks.native")
registry = importlib.import_module("benchmarks.registry")
runner = importlib.import_module("benchmarks.runner")
sockets = importlib.import_module("benchmarks.sockets")
tls = importlib.import_module("benchmarks.tls")
tlsservers = importlib.import_module("benchmarks.tlsservers")

# Long enough for a machine that has much else to do.
SECONDS = 0.2
ROWS = {row.name: row for row in tls.ROWS}
ECHO = ROWS["Protocol, 50"]
SOURCE = ROWS["MiB to the client"]
SINK = ROWS["MiB to the server"]
HANDSHAKES = ROWS["handshakes"]

LACKS = tls.missing(ECHO)
needs_openssl = pytest.mark.skipif(
    bool(LACKS), reason=f"not installed: {', '.join(LACKS)}"
)

# Of connections and certificates that differ from one another.
COUNTED = [
    ECHO,
    ROWS["Protocol, 1 of 100 KiB"],
    SOURCE,
    SINK,
    HANDSHAKES,
    ROWS["handshakes, RSA"],
]


def named(rows):
    return pytest.mark.parametrize("row", rows, ids=[row.name for row in rows])


@pytest.fixture
def fake_loop(tmp_path, monkeypatch):
    """A function that makes a package of a loop with another ``create_server()``.

    Its body may use ``Silent`` and ``Wrong``, protocols, and ``served()``, which
    has the same arguments but the protocol's class, and serves.
    """
    monkeypatch.syspath_prepend(tmp_path)

    def make(body):
        lines = [
            "import asyncio, os",
            "class Silent(asyncio.Protocol):",
            "    def connection_made(self, transport):",
            "        self.transport = transport",
            "class Wrong(Silent):",
            "    def data_received(self, data):",
            "        self.transport.write(bytes(len(data)))",
            "class Loop(asyncio.SelectorEventLoop):",
            "    async def served(self, protocol, options):",
            "        return await super().create_server(protocol, **options)",
            "    async def create_server(self, factory, **options):",
            f"        {body}",
            "new_event_loop = Loop",
        ]
        (tmp_path / "fakeloop.py").write_text("\n".join(lines) + "\n")
        return "fakeloop"

    return make


# --- rows --------------------------------------------------------------------


def test_every_kind_of_server_has_a_row():
    assert {row.kind for row in tls.ROWS} == set(tlsservers.SERVERS)
    assert registry.select(["tls"]) == list(tls.ROWS)


@named(tls.ROWS)
def test_row_is_described(row):
    assert row.description.endswith(".")


def assert_plausible(row, figures):
    assert set(figures) == {measure.name for measure in row.measures}
    assert figures["rate"] > 0
    assert 0 < figures["p50"] <= figures["p99"]
    # Both come of the same messages; a server of one thread has one core.
    seconds_of_cpu_a_second = figures["cpu"] * figures["rate"] / 1e6
    assert 0 < seconds_of_cpu_a_second < 1.001
    assert figures["busy"] == pytest.approx(seconds_of_cpu_a_second)


@needs_openssl
@pytest.mark.parametrize("loop", ["asyncio", "evloop", loops.LIMIT])
@named(tls.ROWS)
def test_messages_come_back(row, loop):
    assert_plausible(row, sockets.measure(row, loop, seconds=SECONDS))


# --- what goes over the wire -------------------------------------------------


@needs_openssl
@named(COUNTED)
@pytest.mark.parametrize("loop", ["asyncio", loops.LIMIT])
def test_so_many_messages_come_back_as_are_asked_for(row, loop):
    count = 123
    with sockets._server(row, loop) as server:
        outcome = sockets._load(
            row, server, count=count, wait="sleep", timeout=runner.PATIENCE
        )
    assert outcome["messages"] == count
    assert outcome["bytes"] == count * row.size
    assert outcome["errors"] == 0


class Listener:
    """Echoes a byte on each of some TLS connections, in a thread.

    ``seen`` has what was agreed on for each of them, and ``last`` what read() made
    of the client's end of it.
    """

    def __init__(self, connections):
        self.seen = []
        self.last = []
        self._connections = connections
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(runner.PATIENCE)
        self.port = self._socket.getsockname()[1]
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(tls.certificate("ecdsa"))
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *exc_info):
        self._thread.join()
        self._socket.close()

    def _serve(self):
        for _ in range(self._connections):
            connection, _ = self._socket.accept()
            connection.settimeout(runner.PATIENCE)
            with self._context.wrap_socket(
                connection, server_side=True, suppress_ragged_eofs=False
            ) as wrapped:
                cipher, version, _ = wrapped.cipher()
                self.seen.append((version, cipher, wrapped.session_reused))
                wrapped.sendall(wrapped.recv(1))
                self.last.append(self._rest(wrapped))

    @staticmethod
    def _rest(wrapped):
        try:
            return wrapped.recv(1)
        except OSError as exc:
            return repr(exc)


@needs_openssl
def test_handshakes_are_full_and_connections_end_well():
    count = 5
    with Listener(count) as listener:
        words = [listener.port, "connect", 1, 1, 0, 0, count, "sleep", os.getpid()]
        load = native.program("tlsload")
        done = runner.run_process([str(load), *map(str, words)], runner.PATIENCE)
    assert runner.parse_outcome(done.stdout)["errors"] == 0
    assert listener.seen == [("TLSv1.3", "TLS_AES_256_GCM_SHA384", False)] * count
    # The last connection is open when the count is reached, and the process ends.
    assert listener.last[:-1] == [b""] * (count - 1)


@needs_openssl
def test_no_answer_is_reported(fake_loop):
    loop = fake_loop("return await self.served(Silent, options)")
    with pytest.raises(runner.WorkerError, match="no message came back"):
        sockets.measure(ECHO, loop, seconds=SECONDS)


@needs_openssl
@pytest.mark.parametrize(
    "body",
    [
        "return await self.served(Wrong, options)",
        "options.pop('ssl'); return await self.served(Wrong, options)",
    ],
    ids=["wrong", "no TLS"],
)
def test_answers_that_are_wrong_are_reported(fake_loop, body):
    with (
        sockets._server(ECHO, fake_loop(body)) as server,
        pytest.raises(runner.WorkerError, match="too many errors"),
    ):
        # More messages than there is time for, so the failure comes first.
        sockets._load(ECHO, server, count=10**9, wait="sleep", timeout=runner.PATIENCE)


@needs_openssl
def test_what_a_loop_lacks_is_not_an_error(fake_loop):
    loop = fake_loop("raise NotImplementedError")
    results = runner.run_all(
        2,
        [ECHO],
        [loop],
        lambda key, name: sockets.measure(ECHO, name, seconds=SECONDS),
    )
    assert results == {(ECHO.key, loop): runner.Cell([], "not supported", True)}


@pytest.mark.parametrize("mode", ["source", "sink"])
@needs_openssl
def test_a_stream_in_one_direction_has_one_connection(mode):
    words = [1, mode, 2, 1, 0, 0, 1, "sleep", os.getpid()]
    load = native.program("tlsload")
    with pytest.raises(runner.WorkerError, match="have one connection"):
        runner.run_process([str(load), *map(str, words)], runner.PATIENCE)


# --- protocols ---------------------------------------------------------------


class Transport:
    """Has a source pause after some writes."""

    def __init__(self, protocol, room):
        self.protocol = protocol
        self.room = room
        self.closing = False
        self.written = []

    def is_closing(self):
        return self.closing

    def write(self, data):
        self.written.append(len(data))
        if len(self.written) % self.room == 0:
            self.protocol.pause_writing()


def source(wanted, room):
    protocol = tlsservers.Source()
    transport = Transport(protocol, room)
    protocol.connection_made(transport)
    protocol.data_received(wanted.to_bytes(8, "little"))
    return protocol, transport.written


def test_a_source_writes_what_is_asked_for():
    chunk = len(tlsservers.CHUNK)
    _, written = source(2 * chunk + 5, room=10)
    assert written == [chunk, chunk, 5]


def test_a_source_stops_while_it_is_paused():
    protocol, written = source(1 << 62, room=2)
    assert len(written) == 2
    protocol.resume_writing()
    assert len(written) == 4


def test_a_source_ends_with_its_transport():
    protocol, written = source(1 << 62, room=2)
    protocol.transport.closing = True
    protocol.resume_writing()
    assert len(written) == 2


def test_a_sink_answers_each_mib():
    protocol = tlsservers.Sink()
    transport = Transport(protocol, room=10)
    protocol.connection_made(transport)
    for size, answers in [(SINK.size - 1, 0), (1, 1), (SINK.size, 2), (1, 2)]:
        protocol.data_received(bytes(size))
        assert transport.written == [1] * answers


# --- what is needed ----------------------------------------------------------


@needs_openssl
@pytest.mark.parametrize("name", ["tlsload", "tlsecho"])
def test_compiles_without_a_warning(name, tmp_path):
    native.compile_to(tmp_path / name, name, "-Werror")
    assert os.access(tmp_path / name, os.X_OK)


@needs_openssl
@pytest.mark.parametrize("kind", tls.KEYS)
def test_a_certificate_is_made_once(kind):
    file = tls.certificate(kind)
    assert tls.certificate(kind) is file
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(file)


def test_a_header_may_be_missing(monkeypatch):
    assert not native.lacks_header("stdio.h")
    assert native.lacks_header("nothing-of-this-name.h")
    # It is not what is to be told then.
    monkeypatch.setenv("CC", "nothing-of-this-name")
    assert not native.lacks_header("nothing-of-this-name.h")


@pytest.mark.parametrize("counting", [[], ["--callgrind"]], ids=["time", "count"])
def test_says_what_is_not_installed(counting, monkeypatch, capsys):
    monkeypatch.setattr(native, "lacks_header", lambda name: True)
    found = shutil.which
    monkeypatch.setattr(
        shutil, "which", lambda name: None if name == "openssl" else found(name)
    )
    assert command.main(["--group", "tls", "--loops", "asyncio", *counting]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"{row.key}: skipped, not installed: the openssl program, "
        "OpenSSL's headers (Debian: libssl-dev)"
        for row in tls.ROWS
    ]
    # The others have no use for it.
    assert command._can_be_measured(sockets.ROWS[0])


# --- command line ------------------------------------------------------------


@needs_openssl
def test_measures_and_writes_its_files(tmp_path, capsys):
    file = tmp_path / "json"
    short = ["--rounds=2", f"--seconds={SECONDS}", f"--json={file}"]
    row = ["-k", "tls/Protocol, 50"]
    assert command.main(["--loops", "asyncio", loops.LIMIT, *row, *short]) == 0
    assert capsys.readouterr().out.count("\nProtocol, 50 ") == 2
    rows = json.loads(file.read_text())["rows"]
    assert {row["group"] for row in rows} == {"tls"}
    for row in rows:
        for shown in row["loops"].values():
            assert shown["error"] is None
            assert len(shown["rounds"]) == 2


@needs_openssl
def test_callgrind_makes_fewer_of_what_takes_long(monkeypatch):
    counts = []

    def load(row, server, *, count, **options):
        counts.append(count)
        return {"messages": count, "errors": 0}

    monkeypatch.setattr(sockets, "_load", load)
    monkeypatch.setattr(sockets.callgrind, "COMMAND", ())
    monkeypatch.setattr(sockets.callgrind, "collected", lambda said: 70 * counts[-1])
    monkeypatch.setattr(sockets.Server, "stop", lambda self: "")
    for row in (ECHO, SOURCE, HANDSHAKES):
        assert sockets.instructions(row, loops.LIMIT) == 70
        # All connections have their part in the first count.
        assert counts[-2] >= row.connections
    assert counts == [2000, 12000, 10, 60, 50, 300]
