"""Subprocesses: asyncio's transport, with the child's end noticed by a pidfd.

A pidfd is a descriptor of one child, readable when the child has ended. So no
signal handler, no child watcher and no thread is needed, and a loop of any
thread can have children. Where there is no pidfd, a thread waits.
"""

import asyncio
import itertools
import os
import signal as signals
import sys
import threading
import warnings
from asyncio import unix_events
from asyncio.log import logger

_thread_numbers = itertools.count()

if sys.version_info < (3, 14):
    # What asyncio makes by itself, and what it is for is done here.
    _STOCK_WATCHERS = (
        type(None),
        unix_events.PidfdChildWatcher,
        unix_events.ThreadedChildWatcher,
    )

    def _has_own_watcher() -> bool:
        """Return whether the program has chosen how its children are reaped.

        Another watcher may reap every child there is, and then must be told
        of ours.
        """
        # Asking the policy by its method would make a watcher.
        watcher = getattr(asyncio.get_event_loop_policy(), "_watcher", None)
        return type(watcher) not in _STOCK_WATCHERS

else:

    def _has_own_watcher() -> bool:
        """Return False: this version of asyncio has no child watchers."""
        return False


class SubprocessTransport(unix_events._UnixSubprocessTransport):
    """A child process and the pipes to it.

    What notices the child's end, a reader or a thread, holds the transport: the
    child is reaped also if nobody else does. With the loop the reader goes, too.
    """

    def __init__(self, loop, *args, **kwargs):
        self._pidfd = None
        self._connecting = None  # the coroutine that connects the pipes
        # The child was reaped, and no pipe is open any more.
        self._settled = asyncio.Event()
        try:
            super().__init__(loop, *args, **kwargs)
        except BaseException:
            self.close()
            if self._proc is not None:
                # It was started, but nobody will know.
                self._connecting_ended()
            raise

    def _start(self, **options):
        super()._start(**options)
        if not self._watch_pidfd():
            thread = threading.Thread(
                target=_wait_in_thread,
                args=(self._loop, self),
                name=f"evloop-waitpid-{next(_thread_numbers)}",
                daemon=True,
            )
            try:
                thread.start()
            except BaseException:
                # Nobody would notice the child's end.
                self._kill_and_reap()
                raise

    def _watch_pidfd(self):
        """Return whether a pidfd will tell of the child's end."""
        try:
            self._pidfd = os.pidfd_open(self._proc.pid)
        except (AttributeError, OSError):
            # Not in this Python or this kernel, forbidden by a sandbox, no
            # descriptor left, or the child was reaped by somebody already.
            return False
        try:
            self._loop._add_reader(self._pidfd, self._pidfd_ready)
        except OSError:
            self._close_pidfd()
            return False
        return True

    def _close_pidfd(self):
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None

    def _pidfd_ready(self):
        self._loop._remove_reader(self._pidfd)
        self._close_pidfd()
        self._child_ended()

    def _child_ended(self):
        """Reap the child, and go on as asyncio does when its watcher has."""
        self._reap()
        proc = self._proc
        self._loop._child_watcher_callback(proc.pid, proc.returncode, self)

    def _reap(self, options=0):
        """Have Popen know the exit status; with WNOHANG, if there is one yet.

        Not by its poll(), which takes a child that somebody else has reaped
        for one that returned 0.
        """
        proc = self._proc
        # A thread may be in proc.wait(), and then have the status first.
        if not proc._waitpid_lock.acquire(blocking=not options):
            return
        try:
            if proc.returncode is not None:
                return
            pid, status = os.waitpid(proc.pid, options)
            if pid:
                proc.returncode = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            proc.returncode = 255
            logger.warning(
                "child process pid %d exit status already read: "
                " will report returncode 255",
                proc.pid,
            )
        finally:
            proc._waitpid_lock.release()

    def _kill_and_reap(self):
        """End the child, and wait until it has ended, unless it may not be killed."""
        self._reap(os.WNOHANG)
        if self._proc.returncode is None:
            try:
                self.kill()
            except PermissionError:
                # It runs as another user.
                return
            self._reap()

    def _process_exited(self, returncode):
        super()._process_exited(returncode)
        self._check_settled()

    def _pipe_connection_lost(self, fd, exc):
        super()._pipe_connection_lost(fd, exc)
        self._check_settled()

    def _connect_pipes(self, waiter):
        self._connecting = self._connect_all_pipes(waiter)
        return self._connecting

    async def _connect_all_pipes(self, waiter):
        try:
            await super()._connect_pipes(waiter)
        finally:
            self._connecting_ended()

    def _connecting_ended(self):
        self._connecting = None
        # Nobody else closes what was connected after close(), or before something
        # went wrong, or was not connected at all.
        if self._closed or self._pending_calls is not None:
            self._close_pipes()
            streams = (self._proc.stdin, self._proc.stdout, self._proc.stderr)
            for fd, stream in enumerate(streams):
                if stream is not None and self._pipes.get(fd) is None:
                    stream.close()
        self._check_settled()

    def _close_pipes(self):
        # Those of a closed loop close when they are collected.
        if self._loop is not None and not self._loop.is_closed():
            for pipe in self._pipes.values():
                if pipe is not None:
                    pipe.pipe.close()

    def _check_settled(self):
        if self._connecting is not None or self._returncode is None:
            return
        if all(pipe is None or pipe.disconnected for pipe in self._pipes.values()):
            self._settled.set()

    async def _abandon(self):
        """Close, drop unsent data, and wait until child and pipes are gone."""
        self.close()
        if self._connecting is not None and self._connecting.cr_frame is None:
            # Its task was cancelled before the first step.
            self._connecting_ended()
        stdin = self._pipes.get(0)
        if stdin is not None and stdin.pipe.get_write_buffer_size():
            stdin.pipe.abort()
        await self._settled.wait()

    def close(self):
        """Close the pipes, and kill the child if it is running."""
        if self._closed:
            return
        self._closed = True
        self._close_pipes()
        if self._proc is None or self._returncode is not None:
            return
        self._reap(os.WNOHANG)
        if self._proc.returncode is None:
            if self._loop.get_debug():
                logger.warning("Close running child process: kill %r", self)
            try:
                self.kill()
            except PermissionError:
                # It runs as another user.
                pass

    def __del__(self, _warn=warnings.warn):
        try:
            super().__del__(_warn)
        finally:
            self._close_pidfd()

    def send_signal(self, signal):
        """Send *signal*, a number, to the child, unless it has ended.

        Raises ProcessLookupError once connection_lost() was called.
        """
        self._check_proc()
        if self._proc.returncode is not None:
            return
        try:
            if self._pidfd is None or not _send_by_pidfd(self._pidfd, signal):
                os.kill(self._proc.pid, signal)
        except ProcessLookupError:
            pass

    def terminate(self):
        """Send SIGTERM to the child, as send_signal() does."""
        self.send_signal(signals.SIGTERM)

    def kill(self):
        """Send SIGKILL to the child, as send_signal() does."""
        self.send_signal(signals.SIGKILL)


def _send_by_pidfd(pidfd, signal):
    """Send *signal* to no other process than the child; return whether it worked.

    Unlike its number, a pidfd stays the child's when somebody else has reaped it.
    """
    try:
        signals.pidfd_send_signal(pidfd, signal)
    except ProcessLookupError:
        raise
    except OSError:
        # Perhaps only this way is forbidden. os.kill() says so if not.
        return False
    return True


def _wait_in_thread(loop, transport):
    """Wait for the transport's child, and have the loop's thread reap it.

    Until it is reaped its number is no other process's, and so that thread can
    send signals to it.
    """
    pid = transport._proc.pid
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError:
        # Somebody else has reaped it.
        pass
    try:
        loop.call_soon_threadsafe(transport._child_ended)
    except RuntimeError:
        transport._reap()
        logger.warning("Loop %r that handles pid %r is closed", loop, pid)


class Subprocesses(asyncio.SelectorEventLoop):
    """The part of the loop that starts child processes."""

    __slots__ = ()

    async def _make_subprocess_transport(
        self,
        protocol,
        args,
        shell,
        stdin,
        stdout,
        stderr,
        bufsize,
        extra=None,
        **kwargs,
    ):
        options = (protocol, args, shell, stdin, stdout, stderr, bufsize)
        if _has_own_watcher():
            return await super()._make_subprocess_transport(
                *options, extra=extra, **kwargs
            )
        waiter = self.create_future()
        transport = SubprocessTransport(
            self, *options, waiter=waiter, extra=extra, **kwargs
        )
        try:
            await waiter
        except (SystemExit, KeyboardInterrupt):
            raise
        except GeneratorExit:
            # This coroutine is closed, and cannot wait.
            transport.close()
            raise
        except BaseException:
            await transport._abandon()
            raise
        return transport
