from pathlib import Path

import pytest

import latentsync
from gradio_app import build_parser, main
from latentsync.app.server import ServerSettings, parse_auth
from latentsync.errors import InputError


def test_nobody_else_can_connect_unless_asked():
    arguments = build_parser().parse_args([])
    assert (arguments.host, arguments.share, arguments.auth) == ("127.0.0.1", False, None)
    settings = ServerSettings()
    assert (settings.host, settings.share, settings.auth) == ("127.0.0.1", False, None)


def test_a_password_may_hold_a_colon():
    assert parse_auth("me:se:cret") == ("me", "se:cret")


@pytest.mark.parametrize("text", ["me", "me:", ":secret", ""])
def test_half_an_auth_is_refused(text: str):
    with pytest.raises(InputError, match="user:password"):
        parse_auth(text)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--auth", "me"], "user:password"),
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
    assert main([*options, "--work_dir", str(tmp_path / "work")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("error: ")
    assert named in error
    assert list(tmp_path.iterdir()) == []


def test_only_the_page_knows_gradio():
    package = Path(latentsync.__file__).parent
    knowing = [
        path.name for path in sorted(package.rglob("*.py")) if "import gradio" in path.read_text(encoding="utf-8")
    ]
    assert knowing == ["page.py", "server.py", "uploads_only.py"]
