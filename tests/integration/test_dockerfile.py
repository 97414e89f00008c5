"""The Dockerfile without Docker: its lint, what it copies and runs, its entry point in a folder of the copied files."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from latentsync.weights import REPOSITORY_ROOT

DOCKERFILE = REPOSITORY_ROOT / "Dockerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile in order: keyword and arguments, without line breaks."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(keyword, rest.strip()) for keyword, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def arguments_of(keyword: str) -> list[str]:
    return [arguments for name, arguments in instructions() if name == keyword]


def copied() -> dict[str, str]:
    """Return the copied files and folders, and where below the working folder they go."""
    pairs: dict[str, str] = {}
    for arguments in arguments_of("COPY"):
        *sources, target = [word for word in shlex.split(arguments) if not word.startswith("--")]
        for source in sources:
            pairs[source] = os.path.join(target, Path(source).name) if target.endswith("/") else target
    return pairs


@pytest.mark.skipif(not HADOLINT.is_file(), reason="hadolint is not installed beside this Python")
def test_the_linter_has_no_complaint():
    done = subprocess.run([HADOLINT, "--no-color", DOCKERFILE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_every_copied_path_exists_and_reaches_the_build():
    kept = [line[1:] for line in (REPOSITORY_ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source in copied():
        assert (REPOSITORY_ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") or path.startswith(f"{source}/") for path in kept)
    assert all(any(path == source or path.startswith(f"{source}/") for source in copied()) for path in kept)


def test_neither_keys_nor_downloaded_weights_reach_the_build():
    lines = (REPOSITORY_ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in lines if line and not line.startswith("#")]
    assert patterns[0] == "*"
    secrets = (".git", ".env", "latentsync_keys.txt", "checkpoints/latentsync_unet.pt", "runs", "data")
    assert not any(fnmatch(name, kept[1:]) for name in secrets for kept in patterns[1:])


def test_it_installs_by_the_script_that_ci_runs_and_needs_no_root():
    assert './setup_env.sh --runtime --torch "$TORCH"' in arguments_of("RUN")
    assert arguments_of("ARG") == ["TORCH=cpu"]
    assert int(arguments_of("USER")[-1]) > 0
    names = [name for name, _ in instructions()]
    assert "RUN" not in names[names.index("USER") :]
    assert "ADD" not in names
    assert not re.search(r"(?i)(password|secret|token|key)\s*=", DOCKERFILE.read_text(encoding="utf-8"))


def test_port_health_check_and_volumes_are_those_of_compose():
    port = arguments_of("EXPOSE")[0]
    assert f"127.0.0.1:{port}/healthz" in arguments_of("HEALTHCHECK")[0]
    command = yaml.safe_load(arguments_of("CMD")[0])
    assert command[command.index("--port") + 1] == port
    compose = yaml.safe_load((REPOSITORY_ROOT / "compose.yaml").read_text(encoding="utf-8"))
    for service in compose["services"].values():
        assert service["ports"] == [f"127.0.0.1:{port}:{port}"]
        mounted = dict(volume.split(":") for volume in service["volumes"])
        assert list(mounted) == list(compose["volumes"])
        assert list(mounted.values()) == yaml.safe_load(arguments_of("VOLUME")[0])
        assert command[command.index("--work_dir") + 1] in mounted.values()
        assert [f"/run/secrets/{name}" for name in service["secrets"]] == [command[command.index("--keys") + 1]]
    assert compose["services"]["cuda"]["build"]["args"] == {"TORCH": "cuda"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the image has below its working folder."""
    folder = tmp_path_factory.mktemp("app")
    ignored = shutil.ignore_patterns("__pycache__")
    for source, target in copied().items():
        path = REPOSITORY_ROOT / source
        (folder / target).parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            shutil.copy(path, folder / target)
        elif source == "checkpoints":  # as .dockerignore leaves it
            (folder / target).mkdir()
            (folder / target / "demo").symlink_to(path / "demo")
        else:
            shutil.copytree(path, folder / target, ignore=ignored, dirs_exist_ok=True)
    return folder


def run_in(image: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command in the folder to its end."""
    with start_in(image, *command) as process:
        out, error = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, out, error)


def start_in(image: Path, *command: str) -> "subprocess.Popen[str]":
    """Start a Python command in the folder, by the Python of this test."""
    assert command[0] == "python"
    environment = os.environ | {"PYTHONPATH": str(image)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *command[1:]], cwd=image, env=environment, text=True, **pipes)


def health_check(port: str) -> list[str]:
    """Return the health check's command, for another port than that of the image."""
    command = yaml.safe_load(arguments_of("HEALTHCHECK")[0].partition("CMD ")[2])
    return [word.replace(f":{arguments_of('EXPOSE')[0]}/", f":{port}/") for word in command]


def test_the_entry_point_understands_the_command_of_the_image(image: Path):
    entry, command = yaml.safe_load(arguments_of("ENTRYPOINT")[0]), yaml.safe_load(arguments_of("CMD")[0])
    done = run_in(image, *entry, *command, "--help")
    assert done.returncode == 0, done.stderr
    options = [word for word in command if word.startswith("--")]
    assert all(option in done.stdout for option in options)


def test_the_weights_can_be_downloaded_from_the_image(image: Path):
    done = run_in(image, "python", "-m", "scripts.download_weights", "--help")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_service_starts_from_the_copied_files_and_is_healthy(image: Path, tmp_path: Path):
    keys = tmp_path / "keys.txt"
    keys.write_text("anna 0123456789abcdef0123\n")
    keys.chmod(0o400)
    here = {"/data": str(tmp_path), "0.0.0.0": "127.0.0.1", "/run/secrets/latentsync_keys": str(keys)}
    here[arguments_of("EXPOSE")[0]] = "0"
    entry, command = yaml.safe_load(arguments_of("ENTRYPOINT")[0]), yaml.safe_load(arguments_of("CMD")[0])
    assert here.keys() <= set(command)
    with start_in(image, *entry, *(here.get(word, word) for word in command)) as server:
        try:
            assert server.stdout is not None
            lines = [server.stdout.readline(), server.stdout.readline()]
            assert "demo" in lines[0], lines
            port = lines[1].rpartition(":")[2].strip()
            done = run_in(image, *health_check(port))
            assert done.returncode == 0, done.stderr
        finally:
            server.terminate()
            server.communicate(timeout=60)
    assert server.returncode == 0
    assert run_in(image, *health_check(port)).returncode != 0
