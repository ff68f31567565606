"""Handle and TimerHandle: state, repr, comparison, subclasses, made by hand."""

import asyncio
import contextvars
import functools
import gc
import operator
import sys
import weakref

import pytest

import evloop

COMPARISONS = [
    operator.lt,
    operator.le,
    operator.eq,
    operator.ne,
    operator.ge,
    operator.gt,
]

HANDLES = {
    "asyncio": (asyncio.Handle, asyncio.TimerHandle),
    "evloop": (evloop.Handle, evloop.TimerHandle),
}


@pytest.fixture(params=HANDLES.values(), ids=HANDLES.keys())
def handle_classes(request):
    """The pair of Handle and TimerHandle, asyncio's own and evloop's."""
    return request.param


@pytest.fixture(params=["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
def schedule(request, loop):
    """A function that schedules in one of the four ways, and soon."""
    method = getattr(loop, request.param)
    if request.param in ("call_later", "call_at"):
        return functools.partial(method, 0)
    return method


def callback(*args):
    """Something to call that stands at a known line."""


def test_attributes(loop, schedule):
    context = contextvars.copy_context()
    handle = schedule(callback, 1, "two", context=context)
    assert isinstance(handle, asyncio.Handle)
    assert handle._callback is callback
    assert handle._args == (1, "two")
    assert handle._cancelled is False
    assert handle.cancelled() is False
    assert handle._loop is loop
    assert handle._context is context
    assert handle._source_traceback is None
    assert handle._repr is None
    if isinstance(handle, asyncio.TimerHandle):
        assert handle._scheduled is True
        assert handle._when == handle.when()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio has it since 3.12")
def test_get_context(schedule):
    context = contextvars.copy_context()
    assert schedule(callback, context=context).get_context() is context
    assert isinstance(schedule(callback).get_context(), contextvars.Context)


def test_get_context_on_every_version(evloop_loop):
    context = contextvars.copy_context()
    assert evloop_loop.call_soon(print, context=context).get_context() is context


def test_attributes_after_cancel(schedule):
    handle = schedule(callback, 1)
    assert handle.cancel() is None
    assert handle.cancelled() is True
    assert handle._cancelled is True
    assert handle._callback is None
    assert handle._args is None
    assert handle.cancel() is None


def test_attributes_after_run(schedule, loop, turn):
    handle = schedule(callback, 1)
    turn(loop)
    assert handle._callback is callback
    assert handle._args == (1,)
    assert handle.cancelled() is False
    handle.cancel()
    assert handle._callback is None


def test_cancel_releases_the_arguments(schedule):
    class Marker:
        pass

    marker = Marker()
    gone = weakref.ref(marker)
    handle = schedule(callback, marker)
    del marker
    assert gone() is not None
    handle.cancel()
    assert gone() is None


def test_cancelled_handle_does_not_run(schedule, loop, turn):
    ran = []
    handle = schedule(ran.append, 1)
    handle.cancel()
    turn(loop, 2)
    assert ran == []


def test_args_cannot_be_changed_behind_our_back(schedule, loop, turn):
    # What _args gives must be a tuple of its own right, kept or not.
    ran = []
    handle = schedule(lambda *args: ran.append(args), 1, 2, 3)
    args = handle._args
    assert type(args) is tuple
    turn(loop)
    del handle
    assert args == (1, 2, 3)
    assert ran == [(1, 2, 3)]


def test_weak_reference(schedule, loop, turn):
    handle = schedule(callback)
    reference = weakref.ref(handle)
    del handle
    assert reference() is not None
    turn(loop)
    gc.collect()
    assert reference() is None


def test_no_instance_dict(schedule):
    handle = schedule(callback)
    with pytest.raises(AttributeError):
        handle.nonsense = 1
    with pytest.raises(AttributeError):
        _ = handle.__dict__


@pytest.mark.parametrize("debug", [False, True], ids=["plain", "debug"])
@pytest.mark.parametrize("method", ["call_soon", "call_at"])
@pytest.mark.parametrize(
    "what",
    [
        callback,
        functools.partial(callback, 3),
        functools.partial(functools.partial(callback, 3), key=4),
        operator.add,
        str,
        [].append,
        5,
        None,
    ],
    ids=lambda what: type(what).__name__,
)
def test_repr(same_outcome, debug, method, what):
    def texts(loop):
        def schedule(*args):
            # One line for all, so that "created at" is the same.
            moment = (12.5,) if method == "call_at" else ()
            return getattr(loop, method)(*moment, what, *args)

        loop.set_debug(debug and callable(what))
        pending, cancelled = schedule(1, "two"), schedule()
        cancelled.cancel()
        cancelled_again = repr(cancelled)
        loop.set_debug(not loop.get_debug())
        return repr(pending), repr(cancelled), cancelled_again

    pending, cancelled, _ = same_outcome(texts)
    assert "cancelled" in cancelled
    assert "cancelled" not in pending
    assert ("when=12.5" in pending) is (method == "call_at")


def test_repr_out_of_debug_names_the_callback(loop):
    assert "<Handle callback() at " in repr(loop.call_soon(callback))
    handle = loop.call_soon(callback, 1)
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"
    timer = loop.call_at(3, callback)
    timer.cancel()
    assert repr(timer) == "<TimerHandle cancelled when=3>"


def test_repr_after_cancel_in_debug_keeps_the_callback(loop):
    loop.set_debug(True)
    handle = loop.call_soon(callback, 1)
    handle.cancel()
    assert handle._repr == repr(handle)
    assert "callback(1)" in repr(handle)
    assert "created at" in repr(handle)


def test_repr_info_is_what_repr_is_made_of(handle_classes, loop):
    class Named(handle_classes[0]):
        def _repr_info(self):
            return [*super()._repr_info(), "extra"]

    handle = Named(callback, (), loop)
    assert repr(handle).startswith("<Named callback() at ")
    assert repr(handle).endswith(" extra>")


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("change", ["nothing", "callback", "args", "cancelled"])
def test_comparison_of_timers(same_outcome, compare, left, change):
    def outcome(loop):
        one = loop.call_at(left, callback, 1)
        other = loop.call_at(
            2,
            print if change == "callback" else callback,
            2 if change == "args" else 1,
        )
        if change == "cancelled":
            other.cancel()
        return compare(one, other), compare(other, one)

    same_outcome(outcome)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("when", [1, 2, 3])
def test_comparison_with_a_stock_timer(evloop_loop, compare, when):
    stock = asyncio.TimerHandle(2, callback, (1,), evloop_loop)
    ours = evloop_loop.call_at(when, callback, 1)
    assert compare(ours, stock) is compare(when, 2)
    assert compare(stock, ours) is compare(2, when)


@pytest.mark.parametrize("compare", COMPARISONS)
@pytest.mark.parametrize("other", [1, None, "text", object()], ids=repr)
def test_comparison_with_anything_else(same_outcome, compare, other):
    def outcome(loop):
        try:
            return compare(loop.call_at(1, callback), other)
        except TypeError:
            # The text is the interpreter's, and names the types' modules.
            return "refused"

    same_outcome(outcome)


@pytest.mark.parametrize("compare", COMPARISONS)
def test_comparison_of_plain_handles(same_outcome, compare):
    def outcome(loop):
        try:
            return compare(loop.call_soon(callback), loop.call_soon(callback))
        except TypeError:
            return "refused"

    same_outcome(outcome)


def test_comparison_asks_the_callbacks_and_arguments(loop):
    class Equal:
        def __eq__(self, other):
            return True

        __hash__ = None

        def __call__(self, *args):
            pass

    one, other = loop.call_at(1, Equal(), 1), loop.call_at(1, Equal(), Equal())
    assert one == other
    assert one <= other
    assert not one < other


def test_hash(loop):
    assert hash(loop.call_at(12.5, callback)) == hash(12.5)
    assert hash(loop.call_at(7, callback)) == hash(7)
    handle = loop.call_soon(callback)
    assert hash(handle) == object.__hash__(handle)
    assert {handle: 1}[handle] == 1


def test_sorted(loop):
    handles = [loop.call_at(when, callback) for when in (3, 1, 2)]
    assert [handle.when() for handle in sorted(handles)] == [1, 2, 3]
    assert max(handles).when() == 3


def test_made_by_hand(handle_classes, loop):
    ran = []
    handle_class, timer_class = handle_classes
    context = contextvars.copy_context()
    handle = handle_class(ran.append, (1,), loop, context)
    timer = timer_class(12.5, ran.append, (2,), loop, context)
    assert timer.when() == 12.5
    assert timer._scheduled is False
    for made, args in ((handle, (1,)), (timer, (2,))):
        assert made._context is context
        assert made._callback == ran.append
        assert made._args == args
        assert made._loop is loop
        assert made._cancelled is False
        assert made._run() is None
    assert ran == [1, 2]


def test_made_by_hand_with_keywords(handle_classes, loop):
    ran = []
    handle_class, timer_class = handle_classes
    handle_class(callback=ran.append, args=(1,), loop=loop, context=None)._run()
    timer_class(when=1, callback=ran.append, args=(2,), loop=loop)._run()
    assert ran == [1, 2]


def test_made_by_hand_wrongly(handle_classes, loop):
    handle_class, timer_class = handle_classes
    for made in (
        lambda: handle_class(),
        lambda: handle_class(callback, ()),
        lambda: handle_class(callback, (), loop, None, None),
        lambda: timer_class(callback, (), loop),
        lambda: timer_class(1, callback, (), loop, nonsense=1),
    ):
        with pytest.raises(TypeError):
            made()
    with pytest.raises(AttributeError, match="get_debug"):
        handle_class(callback, (), None)


def test_made_by_hand_in_debug_knows_its_origin(handle_classes, loop):
    loop.set_debug(True)
    handle_class, timer_class = handle_classes
    here = sys._getframe().f_lineno
    handle, timer = (
        handle_class(callback, (), loop),
        timer_class(1, callback, (), loop),
    )
    assert handle._source_traceback[-1].lineno == here + 2
    assert timer._source_traceback[-1].lineno == here + 3


def test_run_of_a_cancelled_handle_is_reported(handle_classes, loop, reported):
    # Nothing but the loop looks at the flag: the callback is gone.
    contexts = reported(loop)
    handle = handle_classes[0](callback, (), loop)
    handle.cancel()
    handle._run()
    (context,) = contexts
    assert isinstance(context["exception"], TypeError)


def test_run_reports_exceptions(handle_classes, loop, reported):
    contexts = reported(loop)
    error = LookupError()

    def fail():
        raise error

    handle = handle_classes[0](fail, (), loop)
    handle._run()
    (context,) = contexts
    assert set(context) == {"message", "exception", "handle"}
    assert context["exception"] is error
    assert context["handle"] is handle
    assert "fail() at " in context["message"]


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_run_lets_exits_out(handle_classes, loop, kind):
    def leave():
        raise kind

    with pytest.raises(kind):
        handle_classes[0](leave, (), loop)._run()


@pytest.mark.parametrize("put", ["_add_callback", "_ready"])
def test_put_into_the_queue_by_hand(handle_classes, loop, turn, put):
    ran = []
    handle = handle_classes[0](ran.append, (1,), loop)
    loop.call_soon(ran.append, 0)
    if put == "_ready":
        loop._ready.append(handle)
    else:
        loop._add_callback(handle)
    loop.call_soon(ran.append, 2)
    del handle
    turn(loop)
    assert ran == [0, 1, 2]


def test_cancelled_handle_is_not_added(handle_classes, loop, turn):
    handle = handle_classes[0](callback, (), loop)
    handle.cancel()
    loop._add_callback(handle)
    assert len(loop._ready) == 0


def test_add_callback_signalsafe(handle_classes, loop, turn):
    ran = []
    loop._add_callback_signalsafe(handle_classes[0](ran.append, (1,), loop))
    turn(loop)
    assert ran == [1]


def test_overridden_run_is_honoured(handle_classes, loop, turn):
    class Mine(handle_classes[0]):
        def _run(self):
            ran.append(self._args)

    ran = []
    loop._add_callback(Mine(callback, (1, 2), loop))
    turn(loop)
    assert ran == [(1, 2)]


def test_subclass(handle_classes, loop):
    class Mine(handle_classes[1]):
        def __init__(self, *args):
            super().__init__(*args)
            self.cancels = 0

        def cancel(self):
            self.cancels += 1
            super().cancel()

    ran = []
    handle = Mine(1, ran.append, (1,), loop)
    handle._run()
    handle.cancel()
    assert ran == [1]
    assert handle.cancels == 1
    assert handle.cancelled()
    assert handle < Mine(2, ran.append, (), loop)


def test_writable_attributes(handle_classes, loop):
    ran = []
    handle = handle_classes[1](1, callback, (), loop)
    handle._callback = ran.append
    handle._args = (7,)
    handle._when = 9
    handle._scheduled = True
    handle._source_traceback = []
    handle._repr = "<mine>"
    assert (handle.when(), handle._scheduled) == (9, True)
    assert handle._source_traceback == []
    assert repr(handle) == "<mine>"
    handle._run()
    assert ran == [7]


def test_initialised_again(handle_classes, loop):
    ran = []
    handle = handle_classes[0](callback, (1,), loop)
    handle.cancel()
    handle.__init__(ran.append, (2,), loop)
    assert handle.cancelled() is False
    handle._run()
    assert ran == [2]
