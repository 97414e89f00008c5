from pathlib import Path

import pytest

from latentsync.errors import InputError
from latentsync.server.api_keys import ApiKeys

KEY, OTHER = "a" * 24, "b" * 24


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    path = folder / "keys"
    path.touch(mode)
    path.chmod(mode)
    path.write_text(text)
    return path


def test_keys_are_found_with_their_limits(tmp_path: Path):
    keys = ApiKeys.read(write(tmp_path, f"# clients\n\nanna {KEY}\r\nben {OTHER} max_queued=3 max_per_hour=7\n"))
    anna, ben = keys.find(KEY), keys.find(OTHER)
    assert anna is not None
    assert ben is not None
    assert (anna.name, anna.max_queued, anna.max_per_hour) == ("anna", 20, 200)
    assert (ben.name, ben.max_queued, ben.max_per_hour) == ("ben", 3, 7)
    assert keys.named("ben") is ben
    assert KEY not in repr(anna)
    for unknown in ("", KEY[:-1], KEY + "a", KEY.upper(), "anna", "é\udc80"):
        assert keys.find(unknown) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no keys"),
        ("# only a comment", "has no keys"),
        ("anna", "line 1 of"),
        (f"x {KEY}\nanna short", "line 2 of .* less than 16 characters"),
        (f"an/na {KEY}", "is not a name and a key"),
        (f"anna {KEY} max_queued=0", "unknown limit"),
        (f"anna {KEY} limit=3", "unknown limit"),
        (f"anna {KEY}\nanna {OTHER}", "same name"),
        (f"anna {KEY}\nben {KEY}", "same key"),
        ("x" * (1 << 20) + "x", "longer than"),
    ],
)
def test_an_invalid_file_is_one_line_that_shows_no_key(tmp_path: Path, text: str, words: str):
    with pytest.raises(InputError, match=words) as raised:
        ApiKeys.read(write(tmp_path, text))
    assert KEY not in str(raised.value)


def test_a_file_that_others_can_read_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    ApiKeys.read(write(tmp_path, f"anna {KEY}", 0o644))
    assert "chmod 600" in caplog.text


def test_a_missing_file_or_a_folder_is_one_line(tmp_path: Path):
    for path in (tmp_path / "absent", tmp_path):
        with pytest.raises(InputError, match=str(path)):
            ApiKeys.read(path)
