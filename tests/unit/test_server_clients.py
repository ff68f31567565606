"""What becomes of a server's clients when it is closed, or its task cancelled."""

import asyncio

import pytest

from tests.unit.transport_helpers import drained, run, run_until, served, turns

BACKLOG = 5
# Clients, if nothing ends them.
FLOOD = 500


@pytest.fixture
def servers(loop):
    with served(loop) as servers:
        yield servers


@pytest.fixture
def evloop_servers(evloop_loop):
    with served(evloop_loop) as servers:
        yield servers


def exchange(loop, client, protocol):
    """Assert that the connection is as good as ever."""
    client.send(b"question")
    run_until(loop, lambda: protocol.data.endswith(b"question"))
    protocol.transport.write(b"answer")
    assert drained(loop, client, 6) == b"answer"
    assert protocol.lost == []


# From 3.14, and some releases of 3.12 and 3.13, on.
CLOSES_CLIENTS = "close_clients" in asyncio.Server.serve_forever.__code__.co_names


@pytest.mark.skipif(CLOSES_CLIENTS, reason="closes its clients, too")
def test_clients_survive_that_serve_forever_is_cancelled(servers, loop):
    server = servers.create()
    pairs = [servers.accepted(server) for _ in range(3)]
    task = loop.create_task(server.serve_forever())
    turns(loop, 2)
    task.cancel()
    turns(loop, 3)
    assert not server.is_serving()
    for pair in pairs:
        exchange(loop, *pair)
    for client, _ in pairs:
        client.close()
    run_until(loop, task.done)
    assert task.cancelled()


@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_end_of_the_clients_on_every_version(evloop_servers, evloop_loop, how):
    """asyncio's servers can end them from Python 3.13 on."""
    server = evloop_servers.create()
    pairs = [evloop_servers.accepted(server) for _ in range(3)]
    getattr(server, how)()
    for client, protocol in pairs:
        assert drained(evloop_loop, client) == b""
        run_until(evloop_loop, lambda: protocol.lost)  # noqa: B023
        assert protocol.lost == [None]
    server.close()
    run(evloop_loop, server.wait_closed())


def test_a_flood_of_clients_leaves_room_for_others(servers, loop):
    """Accepting ends within the turn, though there is always another client."""
    turn_over, counted = [], []

    def connected(protocol, transport):
        transport.abort()

    def factory():
        # What is scheduled now is to run before much more is accepted.
        if not counted:
            loop.call_soon(turn_over.append, True)
        counted.append(len(turn_over))
        if not turn_over and len(counted) < FLOOD:
            servers.client(server)
        return servers.protocol()

    servers.actions = {"connection_made": connected}
    server = servers.keep(
        run(loop, loop.create_server(factory, "127.0.0.1", 0, backlog=BACKLOG))
    )
    servers.client(server)
    run_until(loop, lambda: turn_over)
    assert counted.count(0) <= BACKLOG + 1
