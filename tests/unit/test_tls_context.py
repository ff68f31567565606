"""The ssl module's own features over a loop: what a context is set to is honoured."""

import asyncio
import gc
import ssl

import pytest

from tests.unit.certs import client_context, path, server_context
from tests.unit.tls_helpers import VERSIONS, linked, received
from tests.unit.transport_helpers import Recorder, run, run_until, turns


@pytest.fixture(params=VERSIONS.values(), ids=VERSIONS)
def links(loop, request):
    with linked(loop, request.param) as links:
        yield links


@pytest.fixture(params=["client", "server"])
def side(request):
    return request.param


def context_for(side, version=None):
    return {"client": client_context, "server": server_context}[side](version=version)


def exchange(loop, transport, peer):
    """Send some bytes both ways."""
    protocol = transport.get_protocol()
    before = len(protocol.data)
    peer.send(b"ping")
    run_until(loop, lambda: len(protocol.data) == before + 4)
    transport.write(b"pong")
    assert received(loop, peer, 4) == b"pong"


# The name that a client asks for


def test_the_name_asked_for(links):
    asked = []
    context = server_context(version=links.version)
    context.sni_callback = lambda tls, name, ctx: asked.append((tls, name, ctx))
    transport, _ = links.connect(side="server", context=context)
    ((tls, name, given),) = asked
    assert tls is transport.get_extra_info("ssl_object")
    assert name == "localhost"
    assert given is context
    asked.clear()  # a cycle through the context that the collector cannot see


def test_another_context_for_a_name(links, loop):
    other = server_context("elsewhere", version=links.version)
    context = server_context(version=links.version)

    def switch(tls, name, given):
        tls.context = other

    context.sni_callback = switch
    theirs = client_context(version=links.version)
    theirs.check_hostname = False
    transport, peer = links.connect(side="server", context=context, peer_context=theirs)
    assert peer.tls.getpeercert()["subjectAltName"] == (("DNS", "elsewhere.test"),)
    assert transport.get_extra_info("ssl_object").context is other
    assert transport.get_extra_info("sslcontext") is context
    exchange(loop, transport, peer)


def refused(loop, links, context, protocol):
    """Have a server refuse a client's handshake; return its error."""
    task, peer = links.begin(protocol, "server", context=context)

    def done():
        try:
            peer.shake()
        except (ssl.SSLError, OSError):
            pass
        return task.done()

    run_until(loop, done)
    assert protocol.calls == []
    return task.exception()


def test_an_alert_for_a_name(links, loop):
    context = server_context(version=links.version)
    context.sni_callback = lambda *_: ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    error = refused(loop, links, context, Recorder())
    assert type(error) is ssl.SSLError
    assert error.reason == "CALLBACK_FAILED"


def test_an_error_for_a_name(links, loop, monkeypatch):
    found = []
    monkeypatch.setattr("sys.unraisablehook", lambda u: found.append(u.exc_type))

    def fail(*_):
        raise ZeroDivisionError("of the callback")

    context = server_context(version=links.version)
    context.sni_callback = fail
    error = refused(loop, links, context, Recorder())
    assert type(error) is ssl.SSLError
    assert error.reason == "CALLBACK_FAILED"
    assert found == [ZeroDivisionError]


# ALPN


@pytest.mark.parametrize(
    "mine, theirs, chosen",
    [
        (["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
        (["h2"], ["h2"], "h2"),
        (["h2"], [], None),
        (["h2"], ["spdy"], None),
    ],
)
def test_alpn(links, side, mine, theirs, chosen):
    context = context_for(side, links.version)
    context.set_alpn_protocols(mine)
    other = context_for("server" if side == "client" else "client", links.version)
    if theirs:
        other.set_alpn_protocols(theirs)
    transport, peer = links.connect(side=side, context=context, peer_context=other)
    tls = transport.get_extra_info("ssl_object")
    assert tls.selected_alpn_protocol() == chosen
    assert peer.tls.selected_alpn_protocol() == chosen


# Sessions


def test_a_session_is_there_for_a_client(links, loop):
    transport, peer = links.connect()
    tls = transport.get_extra_info("ssl_object")
    assert tls.session is not None
    assert tls.session.has_ticket
    assert not tls.session_reused
    exchange(loop, transport, peer)


class _Resuming(ssl.SSLContext):
    """A context that resumes a session, as asyncio has no option for it."""

    session = None

    def wrap_bio(self, *args, **options):
        return super().wrap_bio(*args, **options, session=self.session)


def test_a_client_resumes(links, loop):
    context = _Resuming(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    theirs = server_context(version=links.version)
    first, peer = links.connect(context=context, peer_context=theirs)
    context.session = first.get_extra_info("ssl_object").session
    second, peer = links.connect(context=context, peer_context=theirs)
    assert second.get_extra_info("ssl_object").session_reused
    assert peer.tls.session_reused
    exchange(loop, second, peer)


def test_a_server_resumes(links, loop):
    context = server_context(version=links.version)
    theirs = client_context(version=links.version)
    _, peer = links.connect(side="server", context=context, peer_context=theirs)
    session = peer.tls.session
    mine, other = links.pair()
    peer = links.peer(other, "server", theirs, session)
    transport = links.complete(links.opening(mine, Recorder(), "server", context), peer)
    assert transport.get_extra_info("ssl_object").session_reused
    assert peer.tls.session_reused
    links.settle(peer)
    exchange(loop, transport, peer)


# Classes of the user's


def counting_class(base, names):
    calls = []

    def counted(name):
        def method(self, *args, **options):
            calls.append(name)
            return getattr(base, name)(self, *args, **options)

        return method

    methods = {name: counted(name) for name in names}
    return type("Counting", (base,), methods), calls


def test_a_class_for_the_object(links, loop, side):
    """Each of its methods takes part."""
    names = ["do_handshake", "read", "write", "unwrap", "getpeercert", "cipher"]
    counting, calls = counting_class(ssl.SSLObject, [*names, "compression"])
    context = context_for(side, links.version)
    context.sslobject_class = counting
    transport, peer = links.connect(side=side, context=context)
    assert type(transport.get_extra_info("ssl_object")) is counting
    exchange(loop, transport, peer)
    transport.close()
    run_until(loop, peer.read)
    peer.end()
    run_until(loop, lambda: transport.get_protocol() is None)
    assert set(calls) == {*names, "compression"}


def test_what_a_class_reads_is_what_is_told(links, loop):
    class Shouting(ssl.SSLObject):
        def read(self, *args):
            return super().read(*args).upper()

        def write(self, data):
            return super().write(bytes(data).upper())

    context = client_context(version=links.version)
    context.sslobject_class = Shouting
    protocol = Recorder()
    transport, peer = links.connect(protocol, context=context)
    peer.send(b"quiet")
    run_until(loop, lambda: protocol.data)
    assert protocol.data == b"QUIET"
    transport.write(b"quiet")
    assert received(loop, peer, 5) == b"QUIET"


def test_a_class_that_reads_no_bytes(links, loop):
    """What goes to a stream may be anything that has a buffer."""

    class Odd(ssl.SSLObject):
        def read(self, *args):
            return bytearray(super().read(*args))

    context = client_context(version=links.version)
    context.sslobject_class = Odd
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    _, peer = links.connect(protocol, context=context)
    peer.send(b"text")
    assert run(loop, reader.readexactly(4)) == b"text"


def test_a_class_whose_writes_are_short(links, loop):
    class Sparing(ssl.SSLObject):
        def write(self, data):
            return super().write(data[:3])

    context = client_context(version=links.version)
    context.sslobject_class = Sparing
    transport, peer = links.connect(context=context)
    transport.write(b"more than three")
    transport.write(bytearray(b" and more"))
    assert received(loop, peer, 24) == b"more than three and more"
    assert transport.get_write_buffer_size() == 0


def test_a_class_for_sockets(links, loop, side):
    """It is not used, as no such socket is made."""
    context = context_for(side, links.version)
    context.sslsocket_class = type("Unused", (ssl.SSLSocket,), {"__new__": None})
    transport, peer = links.connect(side=side, context=context)
    exchange(loop, transport, peer)


def test_a_class_of_context(links, loop):
    made = []

    class Context(ssl.SSLContext):
        def wrap_bio(self, incoming, outgoing, **options):
            made.append((type(incoming), type(outgoing), options))
            return super().wrap_bio(incoming, outgoing, **options)

    context = Context(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    transport, peer = links.connect(context=context)
    exchange(loop, transport, peer)
    ((incoming, outgoing, options),) = made
    assert incoming is outgoing is ssl.MemoryBIO
    assert options["server_side"] is False
    assert options["server_hostname"] == "localhost"


# What is traced


def test_keylog(links, loop, side, tmp_path):
    context = context_for(side, links.version)
    context.keylog_filename = str(tmp_path / "keys")
    transport, peer = links.connect(side=side, context=context)
    exchange(loop, transport, peer)
    lines = (tmp_path / "keys").read_text()
    which = {
        VERSIONS["1.2"]: "CLIENT_RANDOM",
        VERSIONS["1.3"]: "CLIENT_TRAFFIC_SECRET_0",
    }
    assert which[links.version] in lines


def test_messages(links, loop, side):
    seen = []
    context = context_for(side, links.version)
    context._msg_callback = lambda tls, way, *_: seen.append((tls, way))
    transport, peer = links.connect(side=side, context=context)
    exchange(loop, transport, peer)
    tls = transport.get_extra_info("ssl_object")
    assert {found for found, _ in seen} == {tls}
    assert {way for _, way in seen} == {"read", "write"}
    before = len(seen)
    transport.close()
    run_until(loop, peer.read)
    assert len(seen) > before
    # The context, the callback and what was seen make a cycle.
    context._msg_callback = None
    seen.clear()


# The ssl module's object in the hands of its user


def test_the_object(links, side):
    transport, peer = links.connect(side=side)
    tls = transport.get_extra_info("ssl_object")
    assert isinstance(tls, ssl.SSLObject)
    assert tls.version() == peer.tls.version()
    assert tls.cipher() == peer.tls.cipher()
    assert tls.server_side is (side == "server")
    assert tls.server_hostname == ("localhost" if side == "client" else None)
    assert tls.context is transport.get_extra_info("sslcontext")
    assert tls.pending() == 0
    assert tls.shared_ciphers() is None or side == "server"
    certificate = tls.getpeercert()
    assert (certificate is not None) is (side == "client")
    assert transport.get_extra_info("peercert") == certificate


def test_channel_binding(links):
    with linked(links.loop, VERSIONS["1.2"]) as old:
        transport, peer = old.connect()
        tls = transport.get_extra_info("ssl_object")
        binding = tls.get_channel_binding("tls-unique")
        assert binding == peer.tls.get_channel_binding("tls-unique")


def test_a_user_reads(links, loop):
    """There is nothing for it: all that came was told."""
    transport, peer = links.connect()
    with pytest.raises(ssl.SSLWantReadError):
        transport.get_extra_info("ssl_object").read(10)
    exchange(loop, transport, peer)


def test_a_user_writes(links, loop):
    """What it wrote leaves before what the transport writes next."""
    transport, peer = links.connect()
    assert transport.get_extra_info("ssl_object").write(b"by hand ") == 8
    transport.write(b"by transport")
    assert received(loop, peer, 20) == b"by hand by transport"


def test_a_user_unwraps(links, loop):
    """The transport cannot write any more, and says so in its own way."""
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    tls = transport.get_extra_info("ssl_object")
    with pytest.raises(ssl.SSLWantReadError):
        tls.unwrap()
    transport.write(b"x")
    run_until(loop, lambda: protocol.lost)
    (error,) = protocol.lost
    assert isinstance(error, ssl.SSLError)
    assert error.reason == "PROTOCOL_IS_SHUTDOWN"


def test_a_user_shakes_hands_again(links, loop):
    transport, peer = links.connect()
    transport.get_extra_info("ssl_object").do_handshake()
    exchange(loop, transport, peer)


def test_the_object_after_the_end(links, loop):
    protocol = Recorder()
    transport, _ = links.connect(protocol)
    tls = transport.get_extra_info("ssl_object")
    version = tls.version()
    transport.abort()
    run_until(loop, lambda: protocol.lost)
    links.forget()
    transport = protocol.transport = None
    turns(loop, 2)
    gc.collect()
    assert tls.version() == version
    with pytest.raises(ssl.SSLError):
        tls.read(1)
    tls.cipher()
    tls.getpeercert()


def test_defaults_of_a_client(links, loop, monkeypatch):
    """``ssl=True`` makes a context that trusts what OpenSSL trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", path("ca.crt"))
    mine, other = links.pair()
    protocol = Recorder()
    peer = links.peer(other)
    coro = loop.create_connection(
        lambda: protocol, sock=mine, ssl=True, server_hostname="localhost"
    )
    transport = links.complete(loop.create_task(coro), peer)
    context = transport.get_extra_info("sslcontext")
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    exchange(loop, transport, peer)
