"""The rows of the group ``tls``: servers that speak TLS under load, side by side.

They are measured as those of ``sockets`` are. All speak TLS 1.3 with AES-256-GCM.
"""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path

from . import loops, native, runner
from .native import program
from .servers import MIB
from .sockets import KIB, PYTHON, SocketRow

# Connections that make a handshake at the same time: a loop may take all of them
# through one step before the next, and they then end together, which is to happen
# many times in a measurement.
SHAKING = 8

#: What ``openssl req`` is told to make a key of.
KEYS = {
    "ecdsa": ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
    "rsa": ("-newkey", "rsa:2048"),
}


@dataclass(frozen=True)
class TlsRow(SocketRow):
    """One row: a kind of server, of ``tlsservers.SERVERS``, and how it is used."""

    group: str = "tls"
    certificate: str = "ecdsa"  #: of KEYS

    def server(self, loop: str, folder: str) -> list[str]:
        """Return the command line of a server."""
        pem = str(certificate(self.certificate))
        if loop == loops.LIMIT:
            kind = "echo" if self.kind == "streams" else self.kind
            return [str(program("tlsecho")), kind, pem]
        return [*PYTHON, "benchmarks.tlsservers", loop, self.kind, pem]

    def load(self, address: str) -> list[str]:
        """Return the start of the load generator's command line."""
        return [str(program("tlsload")), address]


ROWS = (
    TlsRow(
        "Protocol, 1 connection",
        "echo",
        "1 KiB sent to a Protocol and back, over one connection.",
        connections=1,
    ),
    TlsRow(
        "Protocol, 50",
        "echo",
        "1 KiB sent to a Protocol and back, over one of 50 connections.",
    ),
    TlsRow(
        "streams, 50",
        "streams",
        "1 KiB sent to a StreamReader and back, over one of 50 connections.",
    ),
    TlsRow(
        "Protocol, 1 of 100 KiB",
        "echo",
        "100 KiB sent to a Protocol and back, over one connection.",
        connections=1,
        size=100 * KIB,
        fewer=40,
    ),
    TlsRow(
        "MiB to the client",
        "source",
        "1 MiB of what a Protocol writes under flow control, over one connection.",
        mode="source",
        connections=1,
        size=MIB,
        fewer=200,
    ),
    TlsRow(
        "MiB to the server",
        "sink",
        "1 MiB of what a Protocol receives, over one connection.",
        mode="sink",
        connections=1,
        size=MIB,
        fewer=200,
    ),
    TlsRow(
        "handshakes",
        "echo",
        "A connection with a full handshake (ECDSA, P-256), a byte sent and back, and "
        "closed by the client.",
        mode="connect",
        connections=SHAKING,
        size=1,
        fewer=40,
    ),
    TlsRow(
        "handshakes, RSA",
        "echo",
        "The same with a certificate of RSA, 2,048 bits.",
        mode="connect",
        connections=SHAKING,
        size=1,
        fewer=40,
        certificate="rsa",
    ),
)


def missing(row: TlsRow) -> list[str]:
    """Return what is not installed of the things that a row needs."""
    lacks = []
    if shutil.which("openssl") is None:
        lacks.append("the openssl program")
    if native.lacks_header("openssl/ssl.h"):
        lacks.append("OpenSSL's headers (Debian: libssl-dev)")
    return lacks


@functools.cache
def certificate(kind: str) -> Path:
    """Return a file with a new certificate and its key. Raises WorkerError."""
    file, key, public = (
        native.folder() / f"{kind}.{end}" for end in ("pem", "key", "crt")
    )
    words = ["-nodes", "-days", "2", "-subj", "/CN=localhost"]
    files = ["-keyout", str(key), "-out", str(public)]
    command = ["openssl", "req", "-x509", *KEYS[kind], *words, *files]
    runner.run_process(command, runner.PATIENCE)
    file.write_text(public.read_text() + key.read_text())
    return file
