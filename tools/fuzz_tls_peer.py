"""The peer of fuzz_tls.py: TLS by ssl.SSLObject, and what damages its records."""

import contextlib
import itertools
import socket
import ssl
import struct
import tempfile

# Of Ed25519, whose signatures have one length: so records of a seed have it, too.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIF9wzNfLEWhSyFOxNpOZBRC0rhqModDsGhiL5RZl3sLD
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBVTCCAQegAwIBAgIUfl9+eMr0TuXvcfIYtJDEWg7PEKwwBQYDK2VwMBQxEjAQ
BgNVBAMMCWxvY2FsaG9zdDAgFw0yNjExMjIyMzAzMDlaGA8yMTI2MTAyOTIzMDMw
OVowFDESMBAGA1UEAwwJbG9jYWxob3N0MCowBQYDK2VwAyEAUTQjqUx+7k4Dswe+
QWmftWAxHCz161MgKvM/h/BZhyOjaTBnMB0GA1UdDgQWBBTx7t46hqtnmLBMw4pm
K+3hPGySuTAfBgNVHSMEGDAWgBTx7t46hqtnmLBMw4pmK+3hPGySuTAPBgNVHRMB
Af8EBTADAQH/MBQGA1UdEQQNMAuCCWxvY2FsaG9zdDAFBgMrZXADQQBaof6qqqJl
8woblCFaSCT2UAalv152AqIAWWGgD1uX2Rm5/lQ2Jaw3c7fwEEA+KaTuByYF0hIu
F2v4HoxgVfEE
-----END CERTIFICATE-----
"""

PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
RECORD = struct.Struct("!BHH")  # type, version, length


def contexts(version):
    """A client's context and a server's."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(CERTIFICATE)
        file.flush()
        server.load_cert_chain(file.name)
    for context in client, server:
        context.minimum_version = context.maximum_version = version
    return client, server


CONTEXTS = [contexts(ssl.TLSVersion.TLSv1_2), contexts(ssl.TLSVersion.TLSv1_3)]


class Layer:
    """One TLS connection's other end, between two buffers."""

    def __init__(self, context, server_side):
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.sslobj = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else "localhost",
        )
        self.made = self.over = False
        self.feed(b"")

    def feed(self, data):
        """Take what has arrived; return what it says."""
        self.incoming.write(data)
        said = bytearray()
        try:
            if not self.made:
                self.sslobj.do_handshake()
                self.made = True
            while not self.over and (read := self.sslobj.read(1 << 16)):
                said += read
            if not self.over:
                self.over = True
                self.attempt(self.sslobj.unwrap)
        except ssl.SSLWantReadError:
            pass
        except OSError:  # SSLError, or by an errno that somebody has left behind
            self.over = True
        return bytes(said)

    def attempt(self, action, *args):
        """Call a method of the SSLObject; return whether it did what it should."""
        try:
            action(*args)
        except OSError:
            return False
        return True


class Peer:
    """The other end, whose records are damaged and delivered bit by bit."""

    def __init__(self, sock, mutate):
        self.sock = sock
        self.mutate = mutate
        self.layers = []
        self.queue = bytearray()
        self.sent = bytearray()
        self.received = bytearray()
        self.read_from_socket = 0

    def add_layer(self, context, server_side):
        self.layers.append(Layer(context, server_side))
        self.flush()

    def made(self):
        return all(layer.made for layer in self.layers)

    def over(self):
        return any(layer.over for layer in self.layers)

    def flush(self):
        """Have what the layers say in the queue, once it is damaged."""
        for outer, inner in itertools.pairwise(self.layers):
            if (data := inner.outgoing.read()) and outer.made:
                outer.attempt(outer.sslobj.write, data)
        data = self.layers[0].outgoing.read()
        records = []
        while data:
            end = RECORD.size + int.from_bytes(data[3:5])
            records.append(data[:end])
            data = data[end:]
        if records and self.sock is not None:
            self.queue += b"".join(self.mutate(records))

    def send(self, data):
        if self.made() and not self.over() and data:
            if self.layers[-1].attempt(self.layers[-1].sslobj.write, data):
                self.sent += data
            self.flush()

    def notify(self):
        """Say goodbye, in the middle of whatever."""
        if self.made():
            self.layers[-1].attempt(self.layers[-1].sslobj.unwrap)
            self.flush()

    def deliver(self, count):
        if self.sock is not None:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                del self.queue[: self.sock.send(self.queue[:count])]

    def read(self, count):
        if self.sock is None:
            return
        try:
            data = self.sock.recv(count)
        except (BlockingIOError, ConnectionError):
            return
        self.read_from_socket += len(data)
        for layer in self.layers:
            data = layer.feed(data)
        self.received += data
        self.flush()

    def shut(self):
        """Send nothing more, and go on reading."""
        if self.sock is not None:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        """Vanish; with something unread it is a reset."""
        if self.sock is not None:
            self.sock.close()
            self.sock = None


class Mutator:
    """Damages records: each one, with a probability."""

    def __init__(self, rng, rate):
        self.rng = rng
        self.rate = rate
        # Whatever comes first is mostly the handshake, and mostly its end.
        self.spared = rng.choice([0, 0, rng.randrange(20)])

    def __call__(self, records):
        damaged = []
        for record in records:
            self.spared -= 1
            if self.spared < 0 and self.rng.random() < self.rate:
                action = self.rng.choice(self.ACTIONS)
                damaged += action(self, bytearray(record))
            else:
                damaged.append(record)
        if self.spared < 0 and self.rng.random() < self.rate:
            self.rng.shuffle(damaged)
        return damaged

    def flip(self, record):
        for _ in range(self.rng.choice([1, 1, 8])):
            record[self.rng.randrange(len(record))] ^= 1 << self.rng.randrange(8)
        return [record]

    def truncate(self, record):
        return [record[: self.rng.randrange(len(record))]]

    def duplicate(self, record):
        return [record, record]

    def drop(self, record):
        return []

    def insert(self, record):
        return self.rng.sample([record, self.any_record()], 2)

    def any_record(self):
        kind = self.rng.choice([20, 21, 22, 23, 24, self.rng.randrange(256)])
        version = self.rng.choice([0x301, 0x303, 0x304, self.rng.randrange(1 << 16)])
        body = self.rng.randbytes(self.rng.choice([0, 1, 2, 40, 500, 16_384]))
        return RECORD.pack(kind, version, len(body)) + body

    def plain(self, record):
        return self.rng.sample([record, PLAIN], 2)

    def wrong_length(self, record):
        length = int.from_bytes(record[3:5]) + self.rng.choice([-1, 1, 2, 100, -5])
        record[3:5] = (length % (1 << 16)).to_bytes(2)
        return [record]

    def oversized(self, record):
        length = self.rng.choice([16_385, 16_384 + 257, 16_384 + 2049, 65_535])
        return [RECORD.pack(23, 0x303, length) + bytes(length), record]

    def empty(self, record):
        count = self.rng.choice([1, 2, 40])
        kind = self.rng.choice([20, 21, 22, 23])
        return [RECORD.pack(kind, 0x303, 0)] * count + [record]

    def alert(self, record):
        level, what = self.rng.choice([(1, 0), (2, 0), (1, 90), (2, 40), (1, 100)])
        return [RECORD.pack(21, 0x303, 2) + bytes([level, what]), record]

    ACTIONS = (
        flip,
        truncate,
        duplicate,
        drop,
        insert,
        plain,
        wrong_length,
        oversized,
        empty,
        alert,
    )
