"""What is in `deploy/` fits this package; neither a container engine nor a running systemd is needed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from ragatouille_xm.cli import app

ROOT = Path(__file__).parents[1]
CONTAINERFILE, UNIT = ROOT / "deploy" / "Containerfile", ROOT / "deploy" / "ragatouille-xm.service"
if not CONTAINERFILE.exists():
    pytest.skip("deploy/ is not here", allow_module_level=True)


def test_what_the_image_copies_is_here_and_is_all_that_a_build_reads() -> None:
    copied = {
        source for line in re.findall(r"^COPY (.+) \S+$", CONTAINERFILE.read_text(), re.M) for source in line.split()
    }
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "ragatouille_xm"} <= copied


def test_the_health_check_is_a_program_that_asks_the_service() -> None:
    [command] = re.findall(r'CMD \["python", "-c", "(.+)"\]$', CONTAINERFILE.read_text(), re.M)
    compile(command, "HEALTHCHECK", "exec")
    assert "/health/ready" in command


def test_the_unit_gives_options_that_the_command_has() -> None:
    [line] = re.findall(r"^ExecStart=(.+)$", UNIT.read_text(), re.M)
    program, name, *given = shlex.split(line)
    command = get_command(app).commands[name]  # type: ignore[attr-defined]
    assert Path(program).name == "ragatouille-xm"
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in given if word.startswith("--")} <= known


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not here")
    unit = tmp_path / UNIT.name
    unit.write_text(re.sub(r"(?<=ExecStart=)\S+", sys.executable, UNIT.read_text()))  # a program that is here
    found = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True)
    assert (found.returncode, found.stderr) == (0, "")
