"""The command `serve`, as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from invoking import invoke
from server.conftest import TEXTS
from typer.testing import CliRunner

from ragatouille_xm import RAGPretrainedModel
from ragatouille_xm.client import RAGClient
from ragatouille_xm.errors import InputError, ServiceError
from ragatouille_xm.server.app import create_app

Run = Callable[..., tuple[subprocess.Popen[str], str]]


@pytest.fixture
def index(rag: RAGPretrainedModel) -> Path:
    path = rag.catalog.path("town")
    rag.close()
    return path


@pytest.fixture
def run(index: Path) -> Iterator[Run]:
    """Return what starts the command, and gives the process and its address."""
    started: list[subprocess.Popen[str]] = []

    def start(*options: str, **environment: str) -> tuple[subprocess.Popen[str], str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "ragatouille_xm.cli", "serve", str(index), "--port", "0", *options],
            stderr=subprocess.PIPE, text=True, env=os.environ | environment,
        )  # fmt: skip
        started.append(process)
        said = ""
        assert process.stderr is not None
        while not (found := re.search(r"Serving at (\S+)", said)):
            line = process.stderr.readline()
            assert line, f"it ended: {said}"
            said += line
        return process, found[1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def ids(index: Path) -> set[str]:
    RAG = RAGPretrainedModel.from_index(index, verbose=0, device="cpu")  # noqa: N806 - as users write it
    found = {result["document_id"] for result in RAG.search("a", k=10_000)}
    RAG.close()
    return found


def test_it_serves_until_it_is_stopped(run: Run):
    process, url = run()
    with RAGClient(url) as client:
        assert {result["document_id"] for result in client.search("gare")} == set(TEXTS)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        with pytest.raises(ServiceError):
            client.search("gare")


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_what_was_acknowledged_is_there(run: Run, index: Path, end: signal.Signals):
    """Four clients write while the service is stopped or killed; it has all that they were told was stored."""
    process, url = run()
    acknowledged: set[str] = set()
    sent: set[str] = set()
    enough = threading.Event()

    def write(number: int) -> None:
        with suppress(ServiceError), RAGClient(url) as client:
            for i in range(10_000):
                name = f"{number}-{i}"
                sent.add(name)
                client.add_to_index([f"Document {i} of client {number}."], [name], languages="en")
                acknowledged.add(name)
                if len(acknowledged) >= 20:
                    enough.set()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    assert enough.wait(120)
    process.send_signal(end)
    for thread in threads:
        thread.join()
    assert process.wait(60) == (0 if end == signal.SIGTERM else -end)
    found = ids(index)
    assert acknowledged <= found <= sent | set(TEXTS)


def test_a_write_goes_on_when_its_client_goes_away(run: Run, index: Path):
    process, url = run()
    with suppress(httpx2.TimeoutException):
        documents = [{"text": f"Document {i}.", "document_id": str(i), "language": "en"} for i in range(200)]
        httpx2.post(f"{url}/v1/indexes/town/documents", json={"documents": documents}, timeout=0.2)
    process.send_signal(signal.SIGTERM)
    process.wait(60)
    found = ids(index) - set(TEXTS)
    assert found in ({str(i) for i in range(200)}, set())


def test_keys_come_from_the_environment(run: Run):
    _, url = run(RAGATOUILLE_XM_READ_KEYS="one, two", RAGATOUILLE_XM_WRITE_KEYS="three")
    assert httpx2.get(f"{url}/v1/indexes").status_code == 401
    for key in ("one", "two", "three"):
        assert httpx2.get(f"{url}/v1/indexes", headers={"Authorization": f"Bearer {key}"}).status_code == 200


def refused(*arguments: str) -> str:
    ended = invoke(CliRunner(), ["serve", *arguments])
    assert ended.exit_code == 2
    return ended.stderr


def test_bad_input_is_one_sentence(index: Path):
    assert "no index" in refused("nothing-of-that-name")
    assert "the same name" in refused(str(index), str(index))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert "cannot be listened on" in refused(str(index), "--port", str(taken.getsockname()[1]))
    assert "cannot be listened on" in refused(str(index), "--host", "no.such.host.invalid")


def test_an_application_needs_an_index(rag: RAGPretrainedModel):
    with pytest.raises(InputError, match="no index to serve"):
        create_app(rag, [])
