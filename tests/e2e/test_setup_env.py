"""The shell entry points, run as a user would.

Nothing is installed and nothing leaves this machine: Python is a recording stand-in.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

STAND_IN = """#!/bin/sh
case "$*" in
    "-m venv"*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
        echo "VIRTUAL_ENV='$4'; export VIRTUAL_ENV" >"$4/bin/activate"; echo "$*" >>"$LOG" ;;
    "-m pip"*) echo "$*${PIP_NO_INDEX:+ (only $PIP_FIND_LINKS, $PIP_CONFIG_FILE)}" >>"$LOG"; exit "${PIP_STATUS:-0}" ;;
    "-m uv"*) echo "$*" >>"$LOG"; exit "${UV_STATUS:-0}" ;;
    "-m scripts"*) echo "$*" >>"$LOG"; exit "${DOWNLOAD_STATUS:-0}" ;;
    "-c import cv2") exit 0 ;;
    *) exec "$REAL_PYTHON" "$@" ;;
esac
"""


class Sandbox:
    """A copy of the house in a folder with a space, and a PATH that holds a stand-in for Python."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.root = folder / "my copy"
        self.log = folder / "log"
        self.tools = folder / "tools"
        self.root.mkdir()
        self.tools.mkdir()
        for name in ("setup_env.sh", "inference.sh", "pyproject.toml", "constraints.txt"):
            shutil.copy(repository / name, self.root / name)
        stand_in = self.tools / "python3"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)
        for name in [
            "bash",
            "sh",
            "env",
            "dirname",
            "cat",
            "grep",
            "cksum",
            "sed",
            "tail",
            "id",
            "mkdir",
            "cp",
            "ls",
            "readlink",
            "zsh",
        ]:
            if found := shutil.which(name):
                (self.tools / name).symlink_to(found)

    def add_ffmpeg(self) -> None:
        for name in ("ffmpeg", "ffprobe"):
            (self.tools / name).symlink_to(self.tools / "env")

    def run(self, script: str, shell: str = "bash", **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": str(self.tools), "LOG": str(self.log), "REAL_PYTHON": sys.executable, **variables}
        program = [str(self.tools / shell), *(["-f"] if shell == "zsh" else ["--norc"]), "-c", script]
        return subprocess.run(
            program, cwd=self.root.parent, env=environment, capture_output=True, text=True, timeout=60
        )

    def calls(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def sandbox(tmp_path: Path, repository: Path) -> Sandbox:
    return Sandbox(tmp_path, repository)


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_sourcing_activates_and_leaves_the_shell_as_it_was(sandbox: Sandbox, shell: str):
    if not (sandbox.tools / shell).exists():
        pytest.skip(f"no {shell} here")
    sandbox.add_ffmpeg()
    script = """
        before="$-$PWD"; set -u
        source "my copy/setup_env.sh" || echo failed
        set +u; [ "$before" = "$-$PWD" ] && echo same
        typeset -f _latentsync_source; echo "$VIRTUAL_ENV"
    """
    result = sandbox.run(script, shell)
    assert result.stdout.splitlines()[-2:] == ["same", str(sandbox.root / ".venv")], result
    made, installed, downloaded = sandbox.calls()
    assert made == f"-m venv --clear {sandbox.root}/.venv"
    assert installed == "-m pip install --quiet --editable .[dev] --constraint constraints.txt"
    assert downloaded == "-m scripts.download_weights"


def test_the_packages_of_an_image_are_installed_without_tools_and_weights(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    assert sandbox.run("'my copy/setup_env.sh' --runtime --torch cpu").returncode == 0
    calls = sandbox.calls()
    assert calls[-1] == "-m pip install --quiet --editable . --constraint constraints.txt"
    assert any("--torch-backend cpu" in call for call in calls)
    assert not any("scripts.download_weights" in call for call in calls)
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    assert sandbox.calls()[0] == "-m pip install --quiet --editable .[dev] --constraint constraints.txt"


def test_a_second_run_installs_nothing_until_the_pins_change(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    sandbox.calls()
    assert sandbox.run("'my copy/setup_env.sh' --training").returncode == 0
    assert sandbox.calls() == ["-m scripts.download_weights --training"]
    with (sandbox.root / "constraints.txt").open("a") as pins:
        pins.write("# changed\n")
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    assert len(sandbox.calls()) == 2


def test_a_moved_environment_is_made_anew(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    sandbox.root = sandbox.root.rename(sandbox.root.with_name("moved"))
    sandbox.calls()
    assert sandbox.run("moved/setup_env.sh").returncode == 0
    assert sandbox.calls()[0] == f"-m venv --clear {sandbox.root}/.venv"


@pytest.mark.parametrize("is_link", [False, True])
def test_an_environment_of_the_user_is_never_cleared(sandbox: Sandbox, is_link: bool):
    """One of another tool, which does not work as it is, and one elsewhere."""
    sandbox.add_ffmpeg()
    theirs = sandbox.root / ("elsewhere" if is_link else ".venv")
    theirs.mkdir()
    (theirs / "precious").touch()
    if is_link:
        (sandbox.root / ".venv").symlink_to(theirs)
    result = sandbox.run("'my copy/setup_env.sh'")
    assert (result.returncode, sandbox.calls()) == (1, [])
    assert "was not made by this script and cannot be used as it is: activate it first" in result.stderr
    assert [path.name for path in theirs.iterdir()] == ["precious"]


def test_an_empty_folder_may_become_the_environment(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    (sandbox.root / ".venv").mkdir()
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0


def test_a_script_may_be_called_through_a_link(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    (sandbox.root.parent / "set-up").symlink_to(sandbox.root / "setup_env.sh")
    assert sandbox.run("./set-up").returncode == 0
    assert sandbox.calls()[0] == f"-m venv --clear {sandbox.root}/.venv"


def test_an_active_environment_is_used(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    active = sandbox.root.parent / "active"
    (active / "bin").mkdir(parents=True)
    shutil.copy(sandbox.tools / "python3", active / "bin" / "python")
    result = sandbox.run("source 'my copy/setup_env.sh' && echo $VIRTUAL_ENV", VIRTUAL_ENV=str(active))
    assert result.stdout.splitlines()[-1] == str(active), result
    assert not (sandbox.root / ".venv").exists()
    assert len(sandbox.calls()) == 2


@pytest.mark.parametrize("variables", [{"PIP_STATUS": "1"}, {"DOWNLOAD_STATUS": "2"}])
def test_a_failure_is_a_status_and_never_closes_the_shell(sandbox: Sandbox, variables: Mapping[str, str]):
    sandbox.add_ffmpeg()
    result = sandbox.run("source 'my copy/setup_env.sh' && echo went on; echo alive ${VIRTUAL_ENV:-none}", **variables)
    assert result.stdout.splitlines()[-1] == "alive none", result
    assert "went on" not in result.stdout


def test_a_failed_installation_is_tried_again(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    assert sandbox.run("'my copy/setup_env.sh'", PIP_STATUS="1").returncode == 1
    sandbox.calls()
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    assert len(sandbox.calls()) == 2


UV_OPTIONS = "--constraint constraints.txt --reinstall-package torch --reinstall-package torchvision"


@pytest.mark.parametrize(
    ("build", "options"),
    [
        ("cuda", f"{UV_OPTIONS} torch torchvision"),
        ("cpu", f"{UV_OPTIONS} --torch-backend cpu torch torchvision"),
        ("cu126", f"{UV_OPTIONS} --torch-backend cu126 torch torchvision"),
    ],
)
def test_another_build_of_torch_is_installed_first_and_stays(sandbox: Sandbox, build: str, options: str):
    sandbox.add_ffmpeg()
    assert sandbox.run(f"'my copy/setup_env.sh' --torch {build} --training").returncode == 0
    _, uv, torch, packages, downloads = sandbox.calls()
    assert uv == "-m pip install --quiet uv --constraint constraints.txt"
    assert torch == f"-m uv pip install --python {sandbox.root}/.venv/bin/python {options}"
    assert packages == "-m pip install --quiet --editable .[dev] --constraint constraints.txt"
    assert downloads == "-m scripts.download_weights --training"
    assert sandbox.run("'my copy/setup_env.sh'").returncode == 0
    assert sandbox.calls() == ["-m scripts.download_weights"]
    assert sandbox.run("'my copy/setup_env.sh' --torch auto").returncode == 0
    assert "--torch-backend auto" in sandbox.calls()[1]


def test_torch_from_an_index_of_ones_own(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    assert sandbox.run("'my copy/setup_env.sh' --torch file:///mirror").returncode == 0
    options = "--quiet --upgrade --force-reinstall --no-deps --index-url file:///mirror torch torchvision"
    assert sandbox.calls()[1] == f"-m pip install {options} --constraint constraints.txt"


def test_a_build_that_cannot_be_installed_stops_the_set_up(sandbox: Sandbox):
    sandbox.add_ffmpeg()
    result = sandbox.run("'my copy/setup_env.sh' --torch cpu", UV_STATUS="2")
    assert (result.returncode, result.stderr) == (1, "setup_env: installing torch (cpu) failed (see above)\n")
    sandbox.calls()
    assert sandbox.run("'my copy/setup_env.sh' --torch cpu").returncode == 0
    assert any(call.startswith("-m uv") for call in sandbox.calls())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--torch banana", "--torch banana: use cpu, cuda, auto, a version such as cu126, or the address of an index"),
        ("--torch", "--torch needs a value"),
        ("--wheels nowhere", "--wheels nowhere: the folder does not exist"),
        ("--wheels 'my copy'", "the folder has no wheels; docs/installation.md describes how to fill it"),
        ("--wheels 'my copy' --torch cpu", "--torch and --wheels exclude each other"),
        ("--runtime --training", "--training downloads weights, which --runtime does not"),
        ("--wheels 'my copy' --training", "--training needs the network, which --wheels does not use"),
    ],
)
def test_a_wrong_option_is_named_before_anything_is_made(sandbox: Sandbox, options: str, message: str):
    result = sandbox.run(f"'my copy/setup_env.sh' {options}")
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not sandbox.calls()


def test_a_folder_of_wheels_needs_no_network(sandbox: Sandbox):
    folder = sandbox.root.parent / "my wheels"
    folder.mkdir()
    (folder / "latentsync-0.1.0-py3-none-any.whl").touch()
    result = sandbox.run("cd 'my copy' && ./setup_env.sh --wheels '../my wheels'")
    assert result.returncode == 1, "ffmpeg is not here and must not be installed"
    assert "ffmpeg and ffprobe are needed" in result.stderr
    sandbox.add_ffmpeg()
    sandbox.calls()
    (sandbox.root / ".venv" / ".latentsync-installed").unlink()
    result = sandbox.run("cd 'my copy' && ./setup_env.sh --wheels '../my wheels'")
    assert result.returncode == 0, result
    expected = "-m pip install --quiet --editable .[dev] --constraint constraints.txt"
    assert sandbox.calls() == [f"{expected} (only file://{str(folder).replace(' ', '%20')}, /dev/null)"]


def test_without_ffmpeg_it_says_how_to_get_it(sandbox: Sandbox):
    result = sandbox.run("source 'my copy/setup_env.sh'")
    assert result.returncode == 1
    assert "apt-get install ffmpeg" in result.stderr.splitlines()[-1]


def test_an_old_python_is_named(sandbox: Sandbox):
    old = '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.1\nexit 1\n'
    (sandbox.tools / "python3").write_text(old)
    result = sandbox.run("source 'my copy/setup_env.sh'")
    assert result.returncode == 1
    assert result.stderr.strip().endswith("no Python 3.10 or newer found: install one (python3 here: Python 3.8.1)")


@pytest.mark.parametrize("name", ["inference", "train_unet", "train_syncnet"])
def test_a_shell_script_passes_its_arguments_on_from_any_folder(sandbox: Sandbox, repository: Path, name: str):
    scripts = sandbox.root / "scripts"
    scripts.mkdir()
    (scripts / "__init__.py").touch()
    (scripts / f"{name}.py").write_text("import json, os, sys; print(json.dumps([os.getcwd(), *sys.argv[1:]]))")
    shutil.copy(repository / f"{name}.sh", sandbox.root)
    shutil.copy(repository / "scripts" / "environment.sh", scripts)
    (sandbox.tools / "python3").unlink()
    (sandbox.tools / "python3").symlink_to(sys.executable)
    (sandbox.root.parent / "link").symlink_to(f"my copy/{name}.sh")
    for called in (f"'my copy/{name}.sh'", "./link"):
        result = sandbox.run(f"{called} --video_path 'a b.mp4' '' \"it's é\"")
        assert json.loads(result.stdout) == [str(sandbox.root.parent), "--video_path", "a b.mp4", "", "it's é"], result


def test_a_shell_script_never_imports_from_the_callers_folder(sandbox: Sandbox, repository: Path):
    (sandbox.tools / "python3").unlink()
    (sandbox.tools / "python3").write_text(
        f"#!/bin/sh\nunset PYTHONSAFEPATH\nexec '{sys.executable}' \"$@\"\n"
    )  # as 3.10
    (sandbox.tools / "python3").chmod(0o755)
    for folder, text in ((sandbox.root, "import random; print('ours')"), (sandbox.root.parent, "print('foreign')")):
        (folder / "scripts").mkdir()
        (folder / "scripts" / "__init__.py").touch()
        (folder / "scripts" / "inference.py").write_text(text)
    (sandbox.root.parent / "random.py").write_text("print('foreign')")
    shutil.copy(repository / "inference.sh", sandbox.root)
    shutil.copy(repository / "scripts" / "environment.sh", sandbox.root / "scripts")
    assert sandbox.run("'my copy/inference.sh'").stdout == "ours\n"
