from pathlib import Path

import pytest

from latentsync.jobs.visible_text import A_FILE, without_paths


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/me/video.mp4 has no face: give another", f"{A_FILE} has no face: give another"),
        ("cannot read /srv/me/video.mp4: try another", f"cannot read {A_FILE}: try another"),
        ("[Errno 2] No such file: '/srv/me/my secret/x.mp4'", f"[Errno 2] No such file: '{A_FILE}'"),
        ("error:/srv/me (/opt/x), //etc/passwd.", f"error:{A_FILE} ({A_FILE}), {A_FILE}."),
        ("file:/etc/passwd, file:///etc/passwd", f"file:{A_FILE}, file:{A_FILE}"),
        (r"C:\Users\me\a.mp4 and c:/Users/me; \\server\share\a", f"{A_FILE} and {A_FILE}; {A_FILE}"),
        ('{"detail":"File not allowed: /etc/passwd"}', f'{{"detail":"File not allowed: {A_FILE}"}}'),
        ("two\nlines \t of it", "two lines of it"),
    ],
)
def test_absolute_paths_are_left_out(text: str, shown: str):
    assert without_paths(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "see https://example.com:80/a/b or http://[::1]/x",
        "25/1 frames, mp4/wav, 3 / 4, ./a, ~/b, a/b.mp4",
        "holiday.mp4 lasts longer than 2 s: cut it",
        "",
    ],
)
def test_other_text_stays(text: str):
    assert without_paths(text) == text


def test_files_are_called_by_what_visitors_call_them():
    names = {Path("/srv/jobs/0a"): "the job's folder", Path("/srv/jobs/0a/video.mp4"): "my holiday.mp4"}
    text = "/srv/jobs/0a/video.mp4 and /srv/jobs/0a/x and /srv/jobs/1b"
    assert without_paths(text, names) == f"my holiday.mp4 and the job's folder/x and {A_FILE}"


def test_a_text_that_is_nothing_but_paths_is_cut_off():
    shown = without_paths("/etc/passwd ~ " * 100_000)
    assert "/" not in shown
    assert shown.count(A_FILE) == 20


def test_a_path_with_spaces_is_left_out_to_its_end(tmp_path: Path):
    folder = tmp_path / "my secret folder"
    folder.mkdir()
    (folder / "a b.mp4").write_text("")
    assert without_paths(f"{folder}/a b.mp4 has no face") == f"{A_FILE} has no face"
    assert without_paths(f"{folder}/absent.mp4 cannot be read: x") == f"{A_FILE} cannot be read: x"
