import os
import socket
from pathlib import Path

import pytest

import latentsync
from gradio_app import build_parser, main
from latentsync.app.credentials import VARIABLE
from latentsync.app.job_folders import APP_FOLDER, JobFolders
from latentsync.app.server import ServerSettings
from latentsync.app.studio import Studio


def test_nobody_else_can_connect_unless_asked():
    arguments = build_parser().parse_args([])
    assert (arguments.host, arguments.share, arguments.auth_file) == ("127.0.0.1", False, None)
    settings = ServerSettings()
    assert (settings.host, settings.share, settings.auth) == ("127.0.0.1", False, None)


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*settings: object) -> None:
        pytest.fail("weights were loaded before everything was checked")

    monkeypatch.setattr(Studio, "load", load)


@pytest.mark.parametrize("options", [["--auth", "me:secret"], ["--auth=me:secret"], ["--auth"]])
def test_a_password_on_the_command_line_is_refused_with_the_two_ways(
    capsys: pytest.CaptureFixture[str], options: list[str]
):
    with pytest.raises(SystemExit) as end:
        main(options)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1
    assert "--auth_file" in error
    assert VARIABLE in error
    assert "secret" not in error
    assert "--auth " not in build_parser().format_help()


def one_line(capsys: pytest.CaptureFixture[str], options: list[str]) -> str:
    assert main(options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    return error


@pytest.mark.usefixtures("nothing_loads")
def test_whose_folder_it_is_is_looked_at_before_anything_is_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / APP_FOLDER).mkdir()
    (tmp_path / APP_FOLDER / "letter.txt").write_text("dear")
    assert "name another --work_dir" in one_line(capsys, ["--port", "0", "--work_dir", str(tmp_path)])
    with JobFolders(tmp_path / "work") as folders:
        error = one_line(capsys, ["--port", "0", "--work_dir", str(tmp_path / "work")])
        assert f"{folders.root} is in use by process {os.getpid()}" in error


@pytest.mark.usefixtures("nothing_loads")
def test_a_port_in_use_is_told_before_anything_is_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = one_line(capsys, ["--port", port, "--work_dir", str(tmp_path / "work")])
    assert f"port {port}: choose another --host or --port" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_loads")
def test_an_empty_variable_is_told_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, "")
    assert VARIABLE in one_line(capsys, [])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--auth_file", "absent"], "absent"),
        (["--port", "99999"], "port"),
        (["--queue_size", "-1"], "queue_size"),
        (["--max_seconds", "0"], "max_seconds"),
        (["--max_seconds", "nan"], "max_seconds"),
        (["--grace_seconds", "-1"], "grace_seconds"),
        (["--unet_config_path", "x.yaml"], "--inference_ckpt_path"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_a_bad_option_is_one_line_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], named: str
):
    assert named in one_line(capsys, ["--port", "0", "--work_dir", str(tmp_path / "work"), *options])
    assert list(tmp_path.iterdir()) == []


def test_only_the_page_knows_gradio():
    package = Path(latentsync.__file__).parent
    knowing = [
        path.name for path in sorted(package.rglob("*.py")) if "import gradio" in path.read_text(encoding="utf-8")
    ]
    assert knowing == ["guarded_blocks.py", "page.py", "server.py"]
