"""Import and use evloop in subinterpreters, one after the other."""

import sys

try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters

import evloop

USE = """
import sys
sys.path[:] = {path!r}
import asyncio
import evloop

async def main():
    await asyncio.sleep(0.001)
    return 1

loop = evloop.new_event_loop()
assert loop.run_until_complete(main()) == 1
kept = loop.call_soon(print)
if {close}:
    loop.close()
"""


def run(code, config):
    # Before 3.13 asyncio itself crashes in an interpreter that is isolated.
    if config == "default":
        interpreter = interpreters.create(isolated=False)
    else:
        interpreter = interpreters.create(config)
    failure = interpreters.run_string(interpreter, code)
    assert failure is None, failure
    interpreters.destroy(interpreter)


def main(config):
    for close in (True, False, True):
        run(USE.format(path=sys.path, close=close), config)
    loop = evloop.new_event_loop()
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


if __name__ == "__main__":
    main(sys.argv[1])
