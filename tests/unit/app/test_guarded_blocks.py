import pytest

from latentsync.app.guarded_blocks import names_address


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ([{"path": "http://127.0.0.1/x.mp4"}, 20], True),
        ([{"video": {"path": "https://example.com/x.mp4"}}], True),
        ([[("a", {"path": "https://example.com"})]], True),
        ([{"path": "/tmp/x/video.mp4", "url": "http://127.0.0.1:7860/gradio_api/file=/tmp/x/video.mp4"}], False),
        ([None, "http://in.a.text.box", 3], False),
    ],
)
def test_only_files_at_addresses_are_found(data: list, expected: bool):
    assert names_address(data) is expected
