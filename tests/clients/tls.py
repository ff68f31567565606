"""Certificates, contexts and programs for the tests with TLS."""

import asyncio
import atexit
import contextlib
import dataclasses
import fcntl
import functools
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import termios
from asyncio import selector_events, sslproto
from pathlib import Path

import pytest

import evloop
from evloop import _core

from . import servers

# Digits: a program of OpenSSL that talks to people takes no line of them for a command.
PATTERN = b"".join(b"%07d\n" % number for number in range(1 << 17))
# Turns of the loop in which it would have read what has arrived.
TURNS = 25

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
_EXTENSIONS = """
[req]
prompt = no
distinguished_name = name
[name]
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[other]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:other.test
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
[client]
basicConstraints = critical, CA:FALSE
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""

each_version = pytest.mark.parametrize(
    "version",
    [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3],
    ids=["1.2", "1.3"],
)


@dataclasses.dataclass(frozen=True)
class Certificates:
    """Files: an authority's certificate, and what it has signed, with their keys.

    ``server`` is for localhost and 127.0.0.1, ``other`` for other.test.
    """

    authority: Path
    server: Path
    other: Path
    client: Path

    @staticmethod
    def key(certificate):
        """The file with the key of a certificate."""
        return certificate.with_suffix(".key")

    def server_context(self, version=None, certificate=None):
        """A server's context, of one version of TLS if told."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = certificate or self.server
        context.load_cert_chain(certificate, self.key(certificate))
        context.load_verify_locations(self.authority)
        return _only(context, version)

    def client_context(self, version=None):
        """A client's context that trusts the authority."""
        return _only(ssl.create_default_context(cafile=self.authority), version)


def _only(context, version):
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


@functools.cache
def certificates():
    """The certificates of this run of the tests, or a skip without OpenSSL."""
    (program,) = servers.find("openssl")
    folder = Path(tempfile.mkdtemp(prefix="evloop-tls-"))
    atexit.register(shutil.rmtree, folder)
    # Servers that run as other users read them, too.
    folder.chmod(0o755)
    config = folder / "config"
    config.write_text(_EXTENSIONS)

    def make(name, *arguments):
        path = folder / f"{name}.pem"
        key = Certificates.key(path)
        command = [program, "req", "-x509", "-config", config, "-days", "2", *_KEY]
        command += ["-extensions", name, "-subj", f"/CN={name}", *arguments]
        subprocess.run(
            [*command, "-out", path, "-keyout", key],
            env=servers.environment(),
            capture_output=True,
            check=True,
            timeout=servers.STARTING,
        )
        key.chmod(0o644)
        return path

    authority = make("authority")
    sign = ["-CA", authority, "-CAkey", Certificates.key(authority)]
    return Certificates(
        authority, *(make(name, *sign) for name in ("server", "other", "client"))
    )


def encrypted(loop):
    """How many connections of the loop carry TLS; all must be of its own kind."""
    kind = selector_events._SelectorSocketTransport
    if isinstance(loop, evloop.EventLoop):
        kind = _core.StreamTransport
    transports = [
        transport
        for transport in list(loop._transports.values())
        if isinstance(transport.get_protocol(), sslproto.SSLProtocol)
    ]
    assert all(type(transport) is kind for transport in transports)
    return len(transports)


def assert_tls(loop, transport):
    """That this is TLS over a transport of the loop's own kind."""
    assert isinstance(transport, sslproto._SSLProtocolTransport)
    assert encrypted(loop) > 0
    below = loop._transports[transport.get_extra_info("socket").fileno()]
    assert isinstance(below.get_protocol(), sslproto.SSLProtocol)


async def left_unread(transport):
    """Return when a connection's socket has data that the loop leaves there."""
    sock = transport.get_extra_info("socket")
    turns = 0
    while turns < TURNS:
        (count,) = struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))
        turns = turns + 1 if count else 0
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def openssl(*arguments, **pipes):
    """A process of the program openssl, with pipes, while in it.

    What it writes to its stderr is shown with a test that fails.
    """
    (program,) = servers.find("openssl")
    process = await asyncio.create_subprocess_exec(
        program,
        *map(str, arguments),
        env=servers.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        **pipes,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def option(version):
    """The option of openssl's programs for one version of TLS."""
    return f"-{version.name.lower().replace('tlsv', 'tls')}"


class Peer(asyncio.Protocol):
    """Records what it is told; sends back what it gets, if it is to."""

    def __init__(self, echo=False):
        self.echo = echo
        self.calls = []
        self.data = bytearray()
        self.error = None
        self.made = asyncio.Event()
        self.lost = asyncio.Event()
        self.news = asyncio.Event()

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append("made")
        self.made.set()

    def data_received(self, data):
        self.data += data
        self.news.set()
        if self.echo:
            self.transport.write(data)

    def pause_writing(self):
        self.transport.pause_reading()

    def resume_writing(self):
        self.transport.resume_reading()

    def eof_received(self):
        self.calls.append("eof")

    def connection_lost(self, exc):
        self.calls.append("lost")
        self.error = exc
        self.lost.set()
        self.news.set()

    async def has(self, data):
        """Return when the data have arrived whole, and nothing else."""
        while len(self.data) < len(data) and not self.lost.is_set():
            self.news.clear()
            await self.news.wait()
        assert self.data == data


@contextlib.asynccontextmanager
async def listening(context, **peer):
    """A server while in it: its port, and a queue of its ends of connections."""
    loop = asyncio.get_running_loop()
    made = asyncio.Queue()

    class Served(Peer):
        def connection_made(self, transport):
            super().connection_made(transport)
            assert_tls(loop, transport)
            made.put_nowait(self)

    server = await loop.create_server(
        lambda: Served(**peer), "127.0.0.1", 0, ssl=context
    )
    try:
        yield server.sockets[0].getsockname()[1], made
    finally:
        server.close()
        while not made.empty():
            made.get_nowait().transport.abort()
        await server.wait_closed()


_NGINX = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
        client_max_body_size 0;
        location /hello {{ return 200 hello; }}
        location /files/ {{ root {folder}; dav_methods PUT; }}
    }}
}}
"""


@contextlib.contextmanager
def nginx():
    """The port of an nginx, and the folder of what is at ``/files/``, while in it."""
    (program,) = servers.find("nginx")
    made = certificates()
    user = servers.unprivileged()

    def answers():
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    with servers.own_folder(user) as folder, servers.free_port() as port:
        files = folder / "files"
        files.mkdir()
        files.chmod(0o777)
        config = folder / "nginx.conf"
        config.write_text(
            _NGINX.format(
                port=port,
                certificate=made.server,
                key=made.key(made.server),
                folder=folder,
            )
        )
        command = [program, "-p", str(folder), "-c", str(config), "-e", "stderr"]
        with servers.running(command, folder, user, answers, signal.SIGTERM):
            yield port, files
