from pathlib import Path

import pytest

from latentsync.server import command
from latentsync.server.access import is_local_host


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], "name a file of --keys"),
        (["--host", "::"], "name a file of --keys"),
        (["--host", "example.com"], "name a file of --keys"),
        (["--port", "99999"], "port"),
        (["--keys", "absent"], "absent"),
        (["--input_root", "absent"], "absent is not a folder"),
        (["--allow_hosts", "http://a.b"], "allow_hosts"),
        (["--keep_hours", "0"], "keep_hours"),
        (["--keep_gb", "nan"], "keep_gb"),
        (["--max_queued", "0"], "max_queued"),
        (["--max_seconds", "-1"], "max_seconds"),
        (["--unet_config_path", "x.yaml"], "--inference_ckpt_path"),
    ],
)
def test_a_bad_option_is_one_line_before_anything_is_loaded_or_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, options: list[str], words: str
):
    assert command.main(["--port", "0", "--work_dir", str(tmp_path / "work"), *options]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]
    assert list(tmp_path.iterdir()) == []


def test_the_work_folder_is_checked_first(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    (tmp_path / "latentsync-server").mkdir()
    (tmp_path / "latentsync-server" / "letter.txt").write_text("dear")
    assert command.main(["--port", "0", "--work_dir", str(tmp_path)]) == 2
    assert "name another --work_dir" in capsys.readouterr().err
    assert (tmp_path / "latentsync-server" / "letter.txt").read_text() == "dear"


def test_local_hosts():
    assert all(map(is_local_host, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_local_host, ("0.0.0.0", "::", "192.168.1.1", "example.com", "")))
