import os
import socket
import sys
from pathlib import Path

import pytest

import latentsync
from gradio_app import build_parser, main
from latentsync.app.app_folders import APP_FOLDER, AppFolders
from latentsync.app.lipsync_service import LipsyncService
from latentsync.app.server import VARIABLE, ServerSettings, credentials, parse_credentials
from latentsync.errors import InputError


def test_by_default_only_this_machine_can_connect():
    arguments = build_parser().parse_args([])
    assert (arguments.host, arguments.share, arguments.auth_file) == ("127.0.0.1", False, None)
    settings = ServerSettings()
    assert (settings.host, settings.share, settings.auth) == ("127.0.0.1", False, None)


@pytest.fixture
def nothing_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*settings: object) -> None:
        pytest.fail("weights were loaded before all checks were done")

    monkeypatch.setattr(LipsyncService, "load", load)


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
def test_the_owner_of_the_folder_is_checked_before_anything_is_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    (tmp_path / APP_FOLDER).mkdir()
    (tmp_path / APP_FOLDER / "letter.txt").write_text("dear")
    assert "name another --work_dir" in one_line(capsys, ["--port", "0", "--work_dir", str(tmp_path)])
    with AppFolders(tmp_path / "work") as folders:
        error = one_line(capsys, ["--port", "0", "--work_dir", str(tmp_path / "work")])
        assert f"{folders.root} is in use by process {os.getpid()}" in error


@pytest.mark.usefixtures("nothing_loads")
def test_a_port_in_use_is_reported_before_anything_is_loaded(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        error = one_line(capsys, ["--port", port, "--work_dir", str(tmp_path / "work")])
    assert f"port {port}: choose another --host or --port" in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_loads")
def test_an_empty_variable_is_reported_before_anything_is_loaded(
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


def test_only_page_controls_and_server_import_gradio():
    package = Path(latentsync.__file__).parent
    knowing = [
        path.name for path in sorted(package.rglob("*.py")) if "import gradio" in path.read_text(encoding="utf-8")
    ]
    assert knowing == [
        "adapt_tab.py",
        "page.py",
        "page_events.py",
        "sampling_controls.py",
        "scene_controls.py",
        "server.py",
        "voice_rows.py",
    ]


posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


def auth_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "auth"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_without_credentials_there_is_no_login():
    assert credentials(None, {}) is None


@pytest.mark.parametrize("content", [b"me:se:cret\n", b"me:se:cret\r\n", b"\xef\xbb\xbfme:se:cret"])
def test_a_file_has_one_line_and_the_password_may_hold_a_colon(tmp_path: Path, content: bytes):
    assert credentials(auth_file(tmp_path, content), {}) == ("me", "se:cret")


def test_child_processes_do_not_inherit_the_password(tmp_path: Path):
    environment = {VARIABLE: "me:secret", "PATH": ""}
    assert credentials(None, environment) == ("me", "secret")
    assert environment == {"PATH": ""}
    environment = {VARIABLE: "other:secret"}
    assert credentials(auth_file(tmp_path, b"me:from the file"), environment) == ("me", "from the file")
    assert environment == {}


@pytest.mark.parametrize("text", ["me", "me:", ":secret", " :secret", "", "me:a\nyou:b", "me:\tsecret"])
def test_incomplete_credentials_are_rejected_without_repeating_them(text: str):
    with pytest.raises(InputError, match="X must contain user:password") as caught:
        parse_credentials(text, "X")
    assert "secret" not in str(caught.value)


def test_an_empty_variable_does_not_disable_the_login():
    with pytest.raises(InputError, match=VARIABLE):
        credentials(None, {VARIABLE: ""})


@posix
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int):
    path = auth_file(tmp_path, b"me:secret", mode)
    with pytest.raises(InputError, match=f"chmod 600 {path}"):
        credentials(path, {})


@posix
def test_a_pipe_does_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "auth", 0o600)
    with pytest.raises(InputError, match="not a regular file"):
        credentials(tmp_path / "auth", {})


@pytest.mark.parametrize("content", [b"", b"\xff:secret", b"me:" + b"x" * 5000])
def test_other_content_is_one_line(tmp_path: Path, content: bytes):
    with pytest.raises(InputError, match="auth "):
        credentials(auth_file(tmp_path, content), {})


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="--auth_file"):
            credentials(path, {})
