"""sendfile() over TLS, which reads the file and writes it as any data."""

import pytest

from tests.unit.tls_helpers import received, run
from tests.unit.transport_helpers import BIG, Recorder, pattern, run_until


@pytest.fixture
def file(tmp_path):
    (tmp_path / "file").write_bytes(pattern(3 * BIG))
    with open(tmp_path / "file", "rb") as file:
        yield file


@pytest.mark.parametrize("offset, count", [(0, None), (10, 1000), (BIG, BIG)])
def test_sendfile(links, loop, side, file, offset, count):
    transport, peer = links.connect(side=side)
    task = loop.create_task(loop.sendfile(transport, file, offset, count))
    size = 3 * BIG - offset if count is None else count
    data = received(loop, peer, size)
    assert data == pattern(3 * BIG)[offset : offset + size]
    assert run(loop, task) == size
    assert file.tell() == offset + size
    transport.write(b"after it")
    assert received(loop, peer, 8) == b"after it"


def test_sendfile_without_the_fallback(links, loop, file):
    transport, _ = links.connect()
    with pytest.raises(RuntimeError) as caught:
        run(loop, loop.sendfile(transport, file, fallback=False))
    assert str(caught.value).startswith("fallback is disabled")
    assert not transport.is_closing()


def test_sendfile_on_a_closing_transport(links, loop, file):
    transport, _ = links.connect()
    transport.close()
    with pytest.raises(RuntimeError, match=r"^Transport is closing$"):
        run(loop, loop.sendfile(transport, file))


def test_sendfile_to_a_peer_that_goes_away(links, loop, file):
    protocol = Recorder()
    transport, peer = links.connect(protocol)
    task = loop.create_task(loop.sendfile(transport, file))
    run_until(loop, lambda: transport._protocol_paused)
    peer.sock.close()
    with pytest.raises(ConnectionError):
        run(loop, task)
    run_until(loop, lambda: protocol.lost)
