"""Which engine encrypts: the choice, its reasons, and what it falls back to."""

import os
import ssl
import subprocess
import sys
import textwrap
from asyncio import sslproto

import pytest

import evloop
from tests.unit.certs import client_context
from tests.unit.tls_helpers import linked, received

ENGINES = ("direct", "portable")


def python(code, engine=None):
    """Run *code* in a new process; return the process, ended."""
    env = {name: value for name, value in os.environ.items() if name != "EVLOOP_TLS"}
    if engine is not None:
        env["EVLOOP_TLS"] = engine
    code = textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True
    )


def printed(code, engine=None):
    """Return what *code* printed."""
    done = python(code, engine)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.rstrip()


SHOW = "import evloop; print(*evloop.tls_engine(), sep='|')"

# Each makes the look at the ssl module fail in another way.
FAULTS = {
    "version": (
        "import ssl; ssl.OPENSSL_VERSION = 'OpenSSL 0.0'",
        f"the library found is {ssl.OPENSSL_VERSION}, not the ssl module's",
    ),
    "built in": (
        "import _ssl; del _ssl.__file__",
        "the ssl module is linked into the interpreter",
    ),
    "not loaded": (
        "import _ssl; _ssl.__file__ = '/no/such/file'",
        "/no/such/file is not loaded",
    ),
    "no functions": (
        "import _ssl, evloop._core; _ssl.__file__ = evloop._core.__file__",
        "the ssl module exports no SSL_get_SSL_CTX",
    ),
    "unknown Python": (
        "import sys; sys.version_info = (3, 99, 0)",
        "the ssl module of this version of Python is not known",
    ),
    "other objects": (
        """
        import ssl
        wrap = ssl.SSLContext.wrap_bio
        other = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        ssl.SSLContext.wrap_bio = lambda self, *bios: wrap(other, *bios,
                                                           server_hostname="x")
        """,
        "the objects of the ssl module are not as they are known",
    ),
}


def has_direct():
    return printed(SHOW).startswith("direct|")


@pytest.fixture(scope="module")
def direct():
    if not has_direct():
        pytest.skip("this Python's OpenSSL cannot be driven directly")


def test_here():
    engine, reason = evloop.tls_engine()
    assert engine in ENGINES
    assert reason
    assert evloop.tls_engine() is evloop.tls_engine()


def test_direct_is_the_default(direct):
    text = f"direct|{ssl.OPENSSL_VERSION}, shared with the ssl module"
    assert printed(SHOW) == printed(SHOW, "") == printed(SHOW, "direct") == text


def test_portable_by_the_environment():
    assert printed(SHOW, "portable") == "portable|EVLOOP_TLS asks for it"


def test_another_word():
    done = python(SHOW, "fast")
    assert done.returncode == 1
    assert done.stderr.endswith(
        "ValueError: EVLOOP_TLS must be 'direct' or 'portable', not 'fast'\n"
    )


@pytest.mark.parametrize("name", FAULTS)
def test_fallback(direct, name):
    fault, reason = FAULTS[name]
    code = f"import evloop\n{textwrap.dedent(fault)}\n{SHOW}"
    assert printed(code) == f"portable|{reason}"


@pytest.mark.parametrize("name", FAULTS)
def test_direct_is_asked_for_in_vain(direct, name):
    fault, reason = FAULTS[name]
    code = f"import evloop\n{textwrap.dedent(fault)}\n{SHOW}"
    done = python(code, "direct")
    assert done.returncode == 1
    assert done.stderr.endswith(
        f"RuntimeError: EVLOOP_TLS asks for the direct engine, but {reason}\n"
    )


# Connections


@pytest.fixture
def links(evloop_loop):
    with linked(evloop_loop) as links:
        yield links


def engine_of(transport):
    return transport._ssl_protocol._engine


def test_a_connection_uses_it(links):
    for side in ("client", "server"):
        transport, _ = links.connect(side=side)
        assert engine_of(transport) == evloop.tls_engine()[0]


class OwnObject(ssl.SSLObject):
    """What has a class of its own is driven by its methods."""


def own_class(context, tmp_path):
    context.sslobject_class = OwnObject


def keylog(context, tmp_path):
    context.keylog_filename = str(tmp_path / "keys")


def messages(context, tmp_path):
    context._msg_callback = lambda *args: None


@pytest.mark.parametrize("change", [own_class, keylog, messages])
def test_a_connection_that_python_looks_into(links, loop_of, change, tmp_path):
    context = client_context()
    change(context, tmp_path)
    transport, peer = links.connect(context=context)
    assert engine_of(transport) == "portable"
    transport.write(b"x")
    assert received(loop_of, peer, 1) == b"x"


@pytest.fixture
def loop_of(evloop_loop):
    return evloop_loop


@pytest.mark.parametrize("method", ["read", "write", "do_handshake"])
def test_patched_methods(links, loop_of, monkeypatch, method):
    original = getattr(ssl.SSLObject, method)
    called = []

    def patched(self, *args):
        called.append(method)
        return original(self, *args)

    monkeypatch.setattr(ssl.SSLObject, method, patched)
    transport, peer = links.connect()
    assert engine_of(transport) == "portable"
    called.clear()  # the peer is an SSLObject, too
    transport.write(b"x")
    assert received(loop_of, peer, 1) == b"x"
    assert called or method == "do_handshake"


def test_another_protocol_in_asyncios_place(links, monkeypatch):
    class Other(sslproto.SSLProtocol):
        pass

    monkeypatch.setattr(sslproto, "SSLProtocol", Other)
    transport, _ = links.connect()
    assert type(transport._ssl_protocol) is Other


def test_another_object_later(links, loop_of):
    """Put in the place of `_sslobj`, it is driven by its methods."""
    transport, _ = links.connect()
    protocol = transport._ssl_protocol
    engine = protocol._engine
    protocol._sslobj = protocol._sslobj
    assert protocol._engine == engine
    written = []

    class Object:
        def read(self, *args):
            raise ssl.SSLWantReadError

        def write(self, data):
            written.append(bytes(data))
            return len(data)

    protocol._sslobj = Object()
    assert protocol._engine == "portable"
    transport.write(b"x")
    assert written == [b"x"]
