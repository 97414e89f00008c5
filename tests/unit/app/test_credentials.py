import os
import sys
from pathlib import Path

import pytest

from latentsync.app.credentials import VARIABLE, credentials, parse_credentials
from latentsync.errors import InputError

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX permissions")


def auth_file(folder: Path, content: bytes, mode: int = 0o600) -> Path:
    path = folder / "auth"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_nobody_is_asked_where_nothing_is_given():
    assert credentials(None, {}) is None


@pytest.mark.parametrize("content", [b"me:se:cret\n", b"me:se:cret\r\n", b"\xef\xbb\xbfme:se:cret"])
def test_a_file_has_one_line_and_the_password_may_hold_a_colon(tmp_path: Path, content: bytes):
    assert credentials(auth_file(tmp_path, content), {}) == ("me", "se:cret")


def test_programs_that_the_app_starts_do_not_inherit_the_password(tmp_path: Path):
    environment = {VARIABLE: "me:secret", "PATH": ""}
    assert credentials(None, environment) == ("me", "secret")
    assert environment == {"PATH": ""}
    environment = {VARIABLE: "other:secret"}
    assert credentials(auth_file(tmp_path, b"me:from the file"), environment) == ("me", "from the file")
    assert environment == {}


@pytest.mark.parametrize("text", ["me", "me:", ":secret", " :secret", "", "me:a\nyou:b", "me:\tsecret"])
def test_half_a_login_is_refused_without_repeating_it(text: str):
    with pytest.raises(InputError, match="X must hold user:password") as caught:
        parse_credentials(text, "X")
    assert "secret" not in str(caught.value)


def test_an_empty_variable_does_not_open_the_door():
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
    with pytest.raises(InputError, match="no plain file"):
        credentials(tmp_path / "auth", {})


@pytest.mark.parametrize("content", [b"", b"\xff:secret", b"me:" + b"x" * 5000])
def test_other_content_is_one_line(tmp_path: Path, content: bytes):
    with pytest.raises(InputError, match="auth "):
        credentials(auth_file(tmp_path, content), {})


def test_a_missing_file_and_a_folder_are_one_line(tmp_path: Path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match="--auth_file"):
            credentials(path, {})
