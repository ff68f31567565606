"""Fork with a loop at hand; the argument names the case to run.

Both sides check themselves; the parent's exit status tells of both.
"""

import asyncio
import os
import signal
import socket
import sys
import threading
import time

import evloop


def in_child(check):
    """Run *check* in a forked child and assert that it succeeded."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            sys.stderr.flush()
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def use(loop):
    """Let *loop* do one thing of each kind."""
    mine, peer = socket.socketpair()
    ran = []
    with mine, peer:
        loop.add_reader(mine, ran.append, "io")
        loop.call_soon(peer.send, b"x")
        loop.call_soon(ran.append, "soon")
        loop.call_later(0.005, loop.stop)
        loop.call_soon_threadsafe(ran.append, "threadsafe")
        loop.run_forever()
        assert loop.remove_reader(mine) is True
    assert {"io", "soon", "threadsafe"} <= set(ran), ran
    # The thread ends while the loop blocks: only a wake-up can tell it.
    loop.run_until_complete(loop.run_in_executor(None, time.sleep, 0.02))


def fresh_loop():
    loop = evloop.new_event_loop()
    use(loop)
    loop.close()


def new_loop_in_child():
    loop = evloop.new_event_loop()
    loop.call_soon(print, "must not be printed twice")
    in_child(fresh_loop)
    use(loop)
    loop.close()


def fork_while_running():
    loop = evloop.new_event_loop()

    def check():
        asyncio._set_running_loop(None)
        fresh_loop()

    loop.call_soon(in_child, check)
    loop.call_soon(loop.stop)
    loop.run_forever()
    use(loop)
    loop.close()


def run_in_child():
    async def main():
        await asyncio.sleep(0.001)
        return 1

    def check():
        assert evloop.run(main()) == 1

    assert evloop.run(main()) == 1
    in_child(check)
    assert evloop.run(main()) == 1


def child_closes_the_inherited_loop():
    loop = evloop.new_event_loop()
    mine, peer = socket.socketpair()
    ran = []
    loop.add_reader(mine, ran.append, "io")
    in_child(loop.close)
    peer.send(b"x")
    loop.call_soon_threadsafe(ran.append, "woken")
    loop.stop()
    loop.run_forever()
    assert sorted(ran) == ["io", "woken"], ran
    assert loop.remove_reader(mine) is True
    use(loop)
    loop.close()


def child_removes_a_reader():
    loop = evloop.new_event_loop()
    mine, peer = socket.socketpair()
    ran = []
    loop.add_reader(mine, ran.append, "io")
    in_child(lambda: loop.remove_reader(mine))
    peer.send(b"x")
    loop.stop()
    loop.run_forever()
    assert ran == ["io"], ran
    assert loop.remove_reader(mine) is True
    use(loop)
    loop.close()


def child_uses_the_inherited_loop():
    loop = evloop.new_event_loop()
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(int,))

    def check():
        loop.call_soon_threadsafe(int)
        loop.call_soon(loop.stop)
        loop.run_forever()

    in_child(check)
    thread.start()
    thread.join()
    use(loop)
    loop.close()


def signals_after_fork():
    loop = evloop.new_event_loop()
    ran = []
    loop.add_signal_handler(signal.SIGUSR1, ran.append, "parent")

    def check():
        other = evloop.new_event_loop()
        seen = []
        other.add_signal_handler(signal.SIGUSR1, seen.append, "child")
        signal.raise_signal(signal.SIGUSR1)
        for _ in range(3):
            other.stop()
            other.run_forever()
        assert seen == ["child"], seen
        other.close()

    in_child(check)
    for _ in range(3):
        loop.stop()
        loop.run_forever()
    assert ran == [], ran
    signal.raise_signal(signal.SIGUSR1)
    for _ in range(3):
        loop.stop()
        loop.run_forever()
    assert ran == ["parent"], ran
    loop.close()


if __name__ == "__main__":
    globals()[sys.argv[1]]()
