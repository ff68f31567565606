"""Exception handlers: what they are given, and what happens when they fail."""

import asyncio
import contextvars
import logging
import sys

import pytest


def fail(*args):
    raise LookupError("mine")


def test_context_of_a_callback(loop, turn, reported):
    contexts = reported(loop)
    handle = loop.call_soon(fail)
    turn(loop)
    (context,) = contexts
    assert set(context) == {"message", "exception", "handle"}
    assert context["handle"] is handle
    assert type(context["exception"]) is LookupError
    assert context["message"].startswith("Exception in callback fail() at ")


def test_context_in_debug_has_the_source_traceback(loop, turn, reported):
    contexts = reported(loop)
    loop.set_debug(True)
    handle = loop.call_soon(fail, 1)
    turn(loop)
    (context,) = contexts
    assert set(context) == {"message", "exception", "handle", "source_traceback"}
    assert context["source_traceback"] is handle._source_traceback
    assert context["message"].startswith("Exception in callback fail(1) at ")


def test_traceback_starts_at_the_callback(loop, turn, reported):
    contexts = reported(loop)
    loop.call_soon(fail)
    turn(loop)
    traceback = contexts[0]["exception"].__traceback__
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    # asyncio has the frame of Handle._run before it.
    assert names[-1] == "fail"
    assert set(names[:-1]) <= {"_run"}


def test_handler_is_given_the_loop(loop, turn):
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(args))
    loop.call_soon(fail)
    turn(loop)
    ((given, context),) = seen
    assert given is loop
    assert type(context) is dict


def test_handler_runs_while_the_exception_is_handled(loop, turn, caplog):
    # logging.exception() and a bare raise are what handlers are made of.
    seen = []

    def handler(loop, context):
        seen.append(sys.exc_info()[1] is context["exception"])
        raise

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    turn(loop)
    assert seen == [True]
    assert sys.exc_info() == (None, None, None)
    (record,) = caplog.records
    assert record.message.startswith("Unhandled error in exception handler")
    assert record.exc_info[0] is ZeroDivisionError


def test_exit_of_a_handler_has_the_error_as_context(loop):
    def handler(loop, context):
        raise SystemExit

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    with pytest.raises(SystemExit) as caught:
        loop.run_forever()
    assert isinstance(caught.value.__context__, ZeroDivisionError)


def test_get_and_set(loop):
    assert loop.get_exception_handler() is None
    assert loop.set_exception_handler(fail) is None
    assert loop.get_exception_handler() is fail
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


@pytest.mark.parametrize("handler", [1, "text", (), object()], ids=repr)
def test_handler_of_a_wrong_kind(same_outcome, handler):
    exc = same_outcome(lambda loop: loop.set_exception_handler(handler))
    assert isinstance(exc, TypeError)


def test_call_exception_handler(loop, reported):
    contexts = reported(loop)
    given = {"message": "hello", "anything": 1}
    assert loop.call_exception_handler(given) is None
    assert contexts[0] is given


def test_default_handler_logs(loop, caplog):
    loop.call_exception_handler({"message": "hello", "b": 2, "a": [1]})
    (record,) = caplog.records
    assert record.name == "asyncio"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "hello\na: [1]\nb: 2"
    assert not record.exc_info


@pytest.mark.parametrize("context", [{}, {"message": ""}, {"message": None}])
def test_default_handler_without_a_message(loop, caplog, context):
    loop.default_exception_handler(context)
    assert caplog.messages == ["Unhandled exception in event loop"]


def test_default_handler_logs_the_exception(loop, turn, caplog):
    loop.call_soon(fail)
    turn(loop)
    (record,) = caplog.records
    assert record.getMessage().startswith("Exception in callback fail() at ")
    assert "\nhandle: <Handle fail() at " in record.getMessage()
    assert record.exc_info[0] is LookupError


def test_default_handler_says_where_the_handle_was_made(loop, turn, caplog):
    loop.set_debug(True)
    loop.call_soon(loop.call_exception_handler, {"message": "hello"})
    turn(loop)
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "hello\nhandle_traceback: Handle created at (most recent call last):\n"
    )
    assert "loop.call_soon(loop.call_exception_handler" in record.getMessage()


def test_failing_handler_is_logged_and_the_loop_goes_on(loop, turn, caplog):
    ran = []

    def handler(loop, context):
        raise ZeroDivisionError

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(ran.append, 1)
    turn(loop)
    assert ran == [1]
    (record,) = caplog.records
    assert record.getMessage().startswith("Unhandled error in exception handler\n")
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("custom", [False, True], ids=["default", "custom"])
def test_failing_default_handler_is_logged(loop_class, new_loop, turn, caplog, custom):
    class Failing(loop_class):
        def default_exception_handler(self, context):
            raise ZeroDivisionError

    loop = new_loop(Failing)
    if custom:
        loop.set_exception_handler(fail)
    loop.call_soon(fail)
    turn(loop)
    (record,) = caplog.records
    expected = "Exception in default exception handler"
    if custom:
        expected += " while handling an unexpected error in custom exception handler"
    assert record.getMessage() == expected
    assert record.exc_info[0] is ZeroDivisionError


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exits_of_a_handler_come_out(loop, kind):
    ran = []

    def handler(loop, context):
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(fail)
    loop.call_soon(ran.append, 1)
    loop.call_soon(loop.stop)
    with pytest.raises(kind):
        loop.run_forever()
    assert ran == []
    loop.run_forever()
    assert ran == [1]
    with pytest.raises(kind):
        loop.call_exception_handler({})


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_exits_of_the_default_handler_come_out(loop_class, new_loop, kind):
    class Leaving(loop_class):
        def default_exception_handler(self, context):
            raise kind

    loop = new_loop(Leaving)
    with pytest.raises(kind):
        loop.call_exception_handler({})
    loop.set_exception_handler(fail)
    with pytest.raises(kind):
        loop.call_exception_handler({})


def test_other_base_exceptions_of_a_handler_are_logged(loop, caplog):
    def handler(loop, context):
        raise BaseExceptionGroup("mine", [KeyboardInterrupt()])

    loop.set_exception_handler(handler)
    loop.call_exception_handler({"message": "hello"})
    assert "Unhandled error in exception handler" in caplog.text


@pytest.mark.skipif(sys.version_info < (3, 12), reason="since Python 3.12")
@pytest.mark.parametrize("key", ["task", "future", "handle"])
def test_handler_runs_in_the_context_of_its_subject(loop, key):
    variable = contextvars.ContextVar("variable", default="outside")
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    seen = []
    loop.set_exception_handler(lambda *args: seen.append(variable.get()))

    async def coroutine():
        """Nothing to do."""

    task = loop.create_task(coroutine(), context=context)
    handle = loop.call_soon(print, context=context)
    handle.cancel()
    loop.call_exception_handler({key: handle if key == "handle" else task})
    loop.run_until_complete(task)
    loop.call_exception_handler({key: loop.create_future()})
    loop.call_exception_handler({})
    assert seen == ["inside", "outside", "outside"]


def test_context_that_is_no_dict(loop, caplog):
    loop.call_exception_handler(None)
    assert caplog.messages == ["Exception in default exception handler"]


def test_handler_may_replace_itself(loop, turn):
    seen = []

    def first(loop, context):
        seen.append("first")
        loop.set_exception_handler(second)

    def second(loop, context):
        seen.append("second")
        loop.set_exception_handler(None)

    loop.set_exception_handler(first)
    loop.call_soon(fail)
    loop.call_soon(fail)
    turn(loop)
    assert seen == ["first", "second"]
    assert loop.get_exception_handler() is None


def test_exception_never_retrieved(loop, reported):
    contexts = reported(loop)

    async def main():
        task = loop.create_task(asyncio.sleep(0))
        failed = loop.create_future()
        failed.set_exception(LookupError("mine"))
        del failed
        await task

    loop.run_until_complete(main())
    (context,) = contexts
    assert context["message"] == "Future exception was never retrieved"


def test_timer_and_reader_report_alike(loop, turn, reported):
    contexts = reported(loop)
    timer = loop.call_at(0, fail)
    turn(loop)
    assert contexts[0]["handle"] is timer
