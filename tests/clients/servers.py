"""Servers of other projects, started for the tests and stopped after them.

Each runs in a temporary folder of its own, listens on a UNIX socket in it and on
a free port of the loopback interface, and writes nothing to the disk that it need
not write. Who asks for one that is not installed is skipped.
"""

import contextlib
import dataclasses
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

# Upper bounds in seconds.
STARTING = 60.0
STOPPING = 10.0


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a server listens: a port of 127.0.0.1, and a UNIX socket."""

    port: int
    socket: Path


def find(*names):
    """The paths of programs, or a skip if one is not installed.

    Debian keeps the programs of PostgreSQL out of the search path.
    """
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, folders)])
    paths = []
    for name in names:
        path = shutil.which(name, path=search)
        if path is None:
            pytest.skip(f"{name} is not installed")
        paths.append(path)
    return paths


def environment():
    """The environment, without what a sanitizer of this process needs."""
    return {name: text for name, text in os.environ.items() if name != "LD_PRELOAD"}


def unprivileged():
    """Popen's arguments for a user other than root: PostgreSQL insists on one."""
    if os.geteuid() != 0:
        return {}
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextlib.contextmanager
def own_folder(user):
    """A temporary folder that belongs to *user*."""
    with tempfile.TemporaryDirectory(prefix="evloop-") as folder:
        if user:
            os.chown(folder, user["user"], user["group"])
        yield Path(folder)


@contextlib.contextmanager
def free_port():
    """A port that nobody else is given while in it.

    It is bound and not listened to, so a server that sets SO_REUSEADDR, as all
    do, can bind it too.
    """
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def running(command, folder, user, is_ready, stop):
    """A process while in it, which begins when ``is_ready()`` holds."""
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **user,
        )
    try:
        deadline = time.monotonic() + STARTING
        while not is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{command[0]} did not start:\n{log.read_text()}")
            time.sleep(0.01)
        yield
    finally:
        process.send_signal(stop)
        try:
            process.wait(STOPPING)
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def redis():
    """The address of a redis server, without a stored state, while in it."""
    (program,) = find("redis-server")
    user = unprivileged()

    def answers():
        with socket.socket(socket.AF_UNIX) as client:
            return client.connect_ex(str(path)) == 0

    with own_folder(user) as folder, free_port() as port:
        path = folder / "redis.sock"
        settings = {
            "bind": "127.0.0.1",
            "port": port,
            "unixsocket": path,
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
        }
        command = [program]
        for name, value in settings.items():
            command += [f"--{name}", str(value)]
        with running(command, folder, user, answers, signal.SIGTERM):
            yield Address(port, path)


@contextlib.contextmanager
def postgres():
    """The address of a PostgreSQL server, with a new cluster, while in it.

    Everybody is let in, as any user; ``postgres`` is the superuser.
    """
    program, initdb = find("postgres", "initdb")
    user = unprivileged()

    def answers():
        try:
            status = (data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(status) > 7 and status[7].strip() == "ready"

    with own_folder(user) as folder, free_port() as port:
        data = folder / "data"
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8"]
        subprocess.run(
            [initdb, "--pgdata", data, *options, "--locale=C", "--no-sync"],
            cwd=folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            check=True,
            timeout=STARTING,
            **user,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
            "autovacuum": "off",
            "jit": "off",
        }
        command = [program, "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT ends the sessions that are left, instead of waiting for them.
        with running(command, folder, user, answers, signal.SIGINT):
            yield Address(port, folder / f".s.PGSQL.{port}")
