"""End the interpreter with a loop in some state; the argument names the case."""

import asyncio
import atexit
import gc
import signal
import socket
import sys
import threading

import evloop


def pending_callbacks():
    loop = evloop.new_event_loop()
    loop.call_soon(print, "never")
    loop.call_later(1, print, "never")
    loop.call_soon_threadsafe(print, "never")
    keep(loop)


def pending_task():
    async def forever():
        await loop.create_future()

    loop = evloop.new_event_loop()
    task = loop.create_task(forever())
    loop.stop()
    loop.run_forever()
    keep(loop, task)


def watched_descriptors():
    loop = evloop.new_event_loop()
    pair = socket.socketpair()
    loop.add_reader(pair[0], print)
    loop.add_writer(pair[0], print)
    keep(loop, pair)


def daemon_thread():
    loop = evloop.new_event_loop()
    started = threading.Event()
    loop.call_soon(started.set)
    loop.call_later(3600, print)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    started.wait()


def busy_daemon_thread():
    loop = evloop.new_event_loop()
    started = threading.Event()

    def again():
        loop.call_soon(again)
        started.set()

    loop.call_soon(again)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    started.wait()


def signal_handlers():
    loop = evloop.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.add_signal_handler(signal.SIGINT, print)
    keep(loop)


def handles_only():
    loop = evloop.new_event_loop()
    keep(loop.call_soon(print), loop.call_later(1, print))


def running_at_exit():
    async def main():
        sys.exit(0)

    evloop.run(main())


def exit_inside_a_callback():
    loop = evloop.new_event_loop()
    loop.call_soon(sys.exit, 0)
    keep(loop)
    loop.run_forever()


def used_in_atexit():
    loop = evloop.new_event_loop()
    atexit.register(lambda: loop.run_until_complete(asyncio.sleep(0)))
    keep(loop)


def closed_in_del():
    class Closer:
        def __init__(self):
            self.loop = evloop.new_event_loop()
            self.handle = self.loop.call_later(1, print)

        def __del__(self):
            self.handle.cancel()
            self.loop.close()

    keep(Closer())


def executor_busy():
    release = threading.Event()
    loop = evloop.new_event_loop()
    loop.run_in_executor(None, release.wait, 0.05)
    keep(loop)


def modules_gone():
    loop = evloop.new_event_loop()
    loop.call_soon(print)
    keep(loop)
    for name in [name for name in sys.modules if name.startswith("asyncio")]:
        del sys.modules[name]


def timer_of_the_program():
    # What every program leaves behind: an object with a timer that calls it. Its
    # handle dies after the module that made it.
    class App:
        def __init__(self, loop):
            self.loop = loop
            self.timer = loop.call_later(60, self.tick)

        def tick(self):
            pass

    async def main():
        return App(asyncio.get_running_loop())

    global app
    app = evloop.run(main())


def handles_outlive_the_module():
    class Cycle:
        pass

    loop = evloop.new_event_loop()
    cycle = Cycle()
    cycle.handles = [loop.call_soon(print, cycle) for _ in range(5000)]
    cycle.timers = [loop.call_later(60, print, cycle) for _ in range(5000)]
    loop.close()
    for name in [name for name in sys.modules if name.startswith("evloop")]:
        del sys.modules[name]
    del globals()["evloop"], loop, cycle
    gc.collect()


def keep(*objects):
    """Hold objects in a module, to be found when modules are torn down."""
    sys.modules[__name__].kept = objects


if __name__ == "__main__":
    globals()[sys.argv[1]]()
