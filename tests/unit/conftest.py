"""Fixtures of TLS and of sockets; some modules have their own of these names."""

import os
import socket

import pytest

from tests.unit.socket_helpers import socket_pair
from tests.unit.tls_helpers import KINDS, VERSIONS, linked


@pytest.fixture
def links(loop, request):
    """The links of a loop: TLS 1.3, or as *both_versions* says."""
    with linked(loop, getattr(request, "param", VERSIONS["1.3"])) as links:
        yield links


@pytest.fixture(params=["client", "server"])
def side(request):
    """The side of a connection that the loop has."""
    return request.param


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def kind(request):
    """A class of protocols that record what they are told."""
    return request.param


@pytest.fixture
def never_reported(loop, reported):
    """What was reported to the loop's exception handler: nothing."""
    contexts = reported(loop)
    yield contexts
    assert contexts == []


@pytest.fixture
def peer():
    """A UDP socket on the loopback interface."""
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        yield sock


@pytest.fixture
def receiver(tmp_path, monkeypatch):
    """A UNIX datagram socket at the path "receiver", of which the queue is short."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind("receiver")
        yield sock


@pytest.fixture
def unix_pair():
    """Two connected non-blocking UNIX sockets."""
    with socket_pair("unix") as sockets:
        yield sockets


@pytest.fixture
def tcp_pair():
    """Two connected non-blocking TCP sockets."""
    with socket_pair("tcp") as sockets:
        yield sockets


@pytest.fixture
def pipe():
    """The reading and the writing end of a pipe, as unbuffered files."""
    reading, writing = os.pipe()
    with open(reading, "rb", 0) as one, open(writing, "wb", 0) as two:
        yield one, two
