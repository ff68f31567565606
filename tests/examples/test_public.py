"""The package's own names: run(), install(), uninstall(), the policy."""

import asyncio
import inspect
import sys
import threading
import unittest

import pytest

import evloop

# The names that do not warn, where Python 3.14 deprecates the policies.
if sys.version_info >= (3, 14):
    get_policy = asyncio.events._get_event_loop_policy
    set_policy = asyncio.events._set_event_loop_policy
    AbstractPolicy = asyncio.events._AbstractEventLoopPolicy
else:
    get_policy = asyncio.get_event_loop_policy
    set_policy = asyncio.set_event_loop_policy
    AbstractPolicy = asyncio.AbstractEventLoopPolicy


@pytest.fixture
def default_policy():
    """No policy was ever set, neither before the test nor after it."""
    set_policy(None)
    yield
    set_policy(None)


@pytest.fixture
def installed(default_policy):
    """evloop.install(), until the test is over."""
    evloop.install()


def test_names():
    eager = ["eager_task_factory"] if sys.version_info >= (3, 12) else []
    assert sorted(evloop.__all__) == [
        "EventLoop",
        "EventLoopPolicy",
        "Future",
        "Handle",
        "Server",
        "Task",
        "TimerHandle",
        "__version__",
        *eager,
        "install",
        "new_event_loop",
        "run",
        "tls_engine",
        "uninstall",
    ]
    for name in evloop.__all__:
        assert hasattr(evloop, name)


@pytest.mark.parametrize("name", ["Future", "Handle", "Server", "Task", "TimerHandle"])
def test_types_are_asyncios(name):
    assert issubclass(getattr(evloop, name), getattr(asyncio, name))


def test_version():
    assert isinstance(evloop.__version__, str)
    assert [int(part) for part in evloop.__version__.split(".")[:2]]


def test_event_loop():
    assert issubclass(evloop.EventLoop, asyncio.SelectorEventLoop)
    with_factory = evloop.new_event_loop()
    assert type(with_factory) is evloop.EventLoop
    with_factory.close()
    with_class = evloop.EventLoop()
    assert type(with_class) is evloop.EventLoop
    with_class.close()


class TestRun:
    def test_result(self):
        async def main():
            assert type(asyncio.get_running_loop()) is evloop.EventLoop
            await asyncio.sleep(0)
            return "result"

        assert evloop.run(main()) == "result"

    def test_exception(self):
        error = ZeroDivisionError("of main()'s own")

        async def main():
            raise error

        with pytest.raises(ZeroDivisionError) as caught:
            evloop.run(main())
        assert caught.value is error

    @pytest.mark.parametrize("exception", [SystemExit, KeyboardInterrupt])
    def test_exits(self, exception):
        async def main():
            raise exception

        with pytest.raises(exception):
            evloop.run(main())

    @pytest.mark.parametrize("debug", [True, False])
    def test_debug(self, debug):
        async def main():
            return asyncio.get_running_loop().get_debug()

        assert evloop.run(main(), debug=debug) is debug

    def test_debug_by_environment(self, monkeypatch):
        async def main():
            return asyncio.get_running_loop().get_debug()

        monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
        assert evloop.run(main()) is True
        assert evloop.run(main(), debug=None) is True

    def test_signature(self):
        theirs = inspect.signature(asyncio.run).parameters
        ours = inspect.signature(evloop.run).parameters
        for name in ("main", "debug"):
            assert ours[name].kind == theirs[name].kind
            assert ours[name].default == theirs[name].default
        assert set(theirs) - set(ours) <= {"loop_factory"}

    def test_from_a_running_loop(self):
        async def never():
            raise AssertionError("it must not run")

        async def main(run):
            coro = never()
            try:
                run(coro)
            except RuntimeError as exc:
                return str(exc)
            finally:
                coro.close()

        message = evloop.run(main(evloop.run))
        assert message == asyncio.run(main(asyncio.run))

    @pytest.mark.parametrize("argument", [None, 1, print], ids=str)
    def test_not_a_coroutine(self, argument):
        with pytest.raises((TypeError, ValueError)) as expected:
            asyncio.run(argument)
        with pytest.raises(expected.type) as caught:
            evloop.run(argument)
        assert str(caught.value) == str(expected.value)

    def test_cleans_up(self):
        loops, ends = [], []

        async def generator():
            try:
                yield
            finally:
                ends.append("generator")

        async def forever():
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                ends.append("task")
                raise

        async def main():
            loops.append(asyncio.get_running_loop())
            loops.append(asyncio.create_task(forever()))
            loops.append(generator())
            await anext(loops[-1])
            await loops[0].run_in_executor(None, ends.append, "executor")

        evloop.run(main())
        assert loops[0].is_closed()
        assert ends == ["executor", "task", "generator"]
        assert asyncio.events._get_running_loop() is None

    def test_needs_no_policy(self, default_policy):
        async def main():
            return None

        evloop.run(main())
        assert not isinstance(get_policy(), evloop.EventLoopPolicy)

    def test_in_a_thread(self):
        async def main():
            return threading.get_ident()

        results = []
        thread = threading.Thread(target=lambda: results.append(evloop.run(main())))
        thread.start()
        thread.join()
        assert results == [thread.ident]


def test_runner():
    with asyncio.Runner(loop_factory=evloop.new_event_loop) as runner:

        async def main():
            return asyncio.get_running_loop()

        loop = runner.run(main())
        assert type(loop) is evloop.EventLoop
        assert runner.run(main()) is loop is runner.get_loop()
    assert loop.is_closed()


class TestInstall:
    def test_install(self, installed):
        async def main():
            return type(asyncio.get_running_loop())

        assert isinstance(get_policy(), evloop.EventLoopPolicy)
        assert asyncio.run(main()) is evloop.EventLoop
        loop = asyncio.new_event_loop()
        assert type(loop) is evloop.EventLoop
        loop.close()

    def test_uninstall(self, installed):
        async def main():
            return type(asyncio.get_running_loop())

        evloop.uninstall()
        assert not isinstance(get_policy(), evloop.EventLoopPolicy)
        assert asyncio.run(main()) is asyncio.SelectorEventLoop

    def test_uninstall_leaves_the_policy_of_others(self, default_policy):
        evloop.uninstall()
        others = get_policy()
        set_policy(others)
        evloop.uninstall()
        assert get_policy() is others

    def test_install_twice(self, installed):
        evloop.install()
        assert isinstance(get_policy(), evloop.EventLoopPolicy)
        evloop.uninstall()
        evloop.uninstall()
        assert not isinstance(get_policy(), evloop.EventLoopPolicy)

    def test_isolated_test_case(self, installed):
        seen = []

        class Case(unittest.IsolatedAsyncioTestCase):
            async def asyncSetUp(self):
                seen.append(asyncio.get_running_loop())

            async def test_loop(self):
                seen.append(asyncio.get_running_loop())
                await asyncio.sleep(0)

            async def asyncTearDown(self):
                seen.append(asyncio.get_running_loop())

        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(Case).run(result)
        assert result.wasSuccessful() and result.testsRun == 1
        assert [type(loop) for loop in seen] == [evloop.EventLoop] * 3
        assert seen[0] is seen[1] is seen[2]


class TestPolicy:
    def test_is_asyncios(self):
        assert isinstance(evloop.EventLoopPolicy(), AbstractPolicy)

    def test_new_event_loop(self):
        policy = evloop.EventLoopPolicy()
        first, second = policy.new_event_loop(), policy.new_event_loop()
        assert type(first) is type(second) is evloop.EventLoop
        assert first is not second
        first.close()
        second.close()

    def test_main_thread_gets_a_loop_on_demand(self):
        policy = evloop.EventLoopPolicy()
        loop = policy.get_event_loop()
        assert type(loop) is evloop.EventLoop
        assert policy.get_event_loop() is loop
        loop.close()

    def test_other_threads_do_not(self):
        policy = evloop.EventLoopPolicy()
        main_loop = policy.get_event_loop()
        errors, loops = [], []

        def elsewhere():
            with pytest.raises(RuntimeError) as caught:
                policy.get_event_loop()
            errors.append(str(caught.value))
            policy.set_event_loop(policy.new_event_loop())
            loops.append(policy.get_event_loop())
            loops[0].close()

        thread = threading.Thread(target=elsewhere, name="elsewhere")
        thread.start()
        thread.join()
        assert errors == ["There is no current event loop in thread 'elsewhere'."]
        assert type(loops[0]) is evloop.EventLoop
        assert policy.get_event_loop() is main_loop is not loops[0]
        main_loop.close()

    def test_set_event_loop(self):
        policy = evloop.EventLoopPolicy()
        loop = evloop.new_event_loop()
        policy.set_event_loop(loop)
        assert policy.get_event_loop() is loop
        loop.close()

    def test_none_was_set(self):
        policy = evloop.EventLoopPolicy()
        policy.set_event_loop(None)
        with pytest.raises(RuntimeError, match="There is no current event loop"):
            policy.get_event_loop()

    def test_not_a_loop(self):
        policy = evloop.EventLoopPolicy()
        with pytest.raises(TypeError, match="loop must be an instance of"):
            policy.set_event_loop("not a loop")

    def test_get_event_loop_after_run(self, installed):
        async def main():
            return None

        # asyncio.run() sets None when it is through.
        asyncio.run(main())
        with pytest.raises(RuntimeError, match="There is no current event loop"):
            asyncio.get_event_loop()


WARNING_FREE = """\
import asyncio, unittest
import evloop

async def main():
    return type(asyncio.get_running_loop())

assert evloop.run(main()) is evloop.EventLoop
with asyncio.Runner(loop_factory=evloop.new_event_loop) as runner:
    assert runner.run(main()) is evloop.EventLoop
evloop.EventLoop().close()
evloop.new_event_loop().close()
evloop.EventLoopPolicy().new_event_loop().close()
evloop.install()
loop = asyncio.get_event_loop()
assert type(loop) is evloop.EventLoop
loop.close()
assert asyncio.run(main()) is evloop.EventLoop

class Case(unittest.IsolatedAsyncioTestCase):
    async def test_loop(self):
        assert await main() is evloop.EventLoop

unittest.main(exit=False)
evloop.uninstall()
assert asyncio.run(main()) is asyncio.SelectorEventLoop
"""


def test_no_warnings(spawn, write):
    script = write("script.py", WARNING_FREE)
    outcome = spawn(sys.executable, "-W", "error", "-X", "dev", script).outcome()
    assert outcome.returncode == 0
    assert outcome.stderr.endswith("OK\n")
    assert "Warning" not in outcome.stderr
