import asyncio
from pathlib import Path

import pytest

from latentsync.app.file_guard import FileGuard


async def passed(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})


def guard(root: Path) -> FileGuard:
    root.mkdir()
    return FileGuard(passed, root)


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "{root}/../secret",
        "{root}/a/../../secret",
        "relative",
        "../secret",
        "{root}-neighbour/file",
        "http://127.0.0.1/x",
        "https://example.com/x",
        "file:///etc/passwd",
        "{root}/link",
        "{root}/loop",
        "a\0b",
        "",
    ],
)
def test_what_lies_elsewhere_is_refused(tmp_path: Path, name: str):
    guarded = guard(tmp_path / "root")
    (tmp_path / "root" / "link").symlink_to("/etc/passwd")
    (tmp_path / "root" / "loop").symlink_to(tmp_path / "elsewhere")
    assert not guarded.allows("/gradio_api/file=" + name.format(root=tmp_path / "root"))


def test_a_proxy_is_refused(tmp_path: Path):
    assert not guard(tmp_path / "root").allows("/gradio_api/proxy=https://example.hf.space/x")


def test_what_lies_in_the_folder_and_what_is_no_file_passes(tmp_path: Path):
    guarded = guard(tmp_path / "root")
    result = tmp_path / "root" / "jobs" / "0a" / "lipsync.mp4"
    assert guarded.allows(f"/gradio_api/file={result}")
    assert guarded.allows("/config")
    assert guarded.allows("/")


def test_a_refusal_is_403_and_reaches_nobody_else(tmp_path: Path):
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        raise AssertionError

    async def ask(path: str) -> None:
        await guarded({"type": "http", "path": path}, receive, send)

    guarded = guard(tmp_path / "root")
    asyncio.run(ask("/gradio_api/file=/etc/passwd"))
    asyncio.run(ask("/config"))
    assert [message["status"] for message in sent if "status" in message] == [403, 200]
