"""Downloads from a hub on this machine are verified and resumed; other content than announced is refused."""

import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from latentsync import hub as hub_module
from latentsync.errors import InputError
from latentsync.hub import (
    DamagedDownloadError,
    HubUnreachableError,
    MissingOnHubError,
    MissingRepositoryError,
    difference,
    download,
    find_on_hub,
    hub_answers,
    look_up,
)
from latentsync.weights import WeightFile
from tests.fake_hub import FakeHub, serving, use_in_this_process

REPOSITORY = "ByteDance/LatentSync-1.6"
CONTENT = bytes(range(256)) * 1200
FILE = WeightFile("auxiliary/weights.pth", REPOSITORY, "inference")
CONFIG = WeightFile("vae/config.json", REPOSITORY, "inference", hub_name="config.json")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    held = FakeHub(
        {REPOSITORY: {"auxiliary/weights.pth": CONTENT, "config.json": b"{}", "latentsync_syncnet.pt": b"s"}}
    )
    with serving(held):
        use_in_this_process(held, monkeypatch)
        yield held


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} - {".download.lock"}


def test_large_and_small_files_arrive_whole_and_alone(hub: FakeHub, tmp_path: Path):
    assert download(FILE, tmp_path) == tmp_path / "auxiliary" / "weights.pth"
    assert (tmp_path / "auxiliary" / "weights.pth").read_bytes() == CONTENT
    assert download(CONFIG, tmp_path).read_bytes() == b"{}"
    assert files_in(tmp_path) == {"auxiliary/weights.pth", "vae/config.json"}


def test_a_connection_that_breaks_is_resumed_in_the_same_call(hub: FakeHub, tmp_path: Path):
    hub.broken_after["auxiliary/weights.pth"] = 100_000
    assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert hub.ranges("weights.pth") == [None, "bytes=100000-", "bytes=200000-", "bytes=300000-"]


def test_an_interrupted_download_is_resumed_by_the_next_call(hub: FakeHub, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(hub_module, "MAX_ATTEMPTS", 1)
    real_receive = hub_module._receive

    def receive_once_then_nothing(part, remote, bar):
        hub.broken_after["auxiliary/weights.pth"] = 0 if part.exists() else 123_456
        real_receive(part, remote, bar)

    monkeypatch.setattr(hub_module, "_receive", receive_once_then_nothing)
    with pytest.raises(HubUnreachableError, match=r"downloading auxiliary/weights\.pth .*123456 bytes are kept"):
        download(FILE, tmp_path)
    assert not (tmp_path / "auxiliary" / "weights.pth").exists()
    monkeypatch.setattr(hub_module, "_receive", real_receive)
    hub.broken_after.clear()
    hub.requests.clear()
    assert download(FILE, tmp_path).read_bytes() == CONTENT
    assert hub.ranges("weights.pth") == ["bytes=123456-"]
    assert files_in(tmp_path) == {"auxiliary/weights.pth"}


@pytest.mark.parametrize(
    ("served", "fault"),
    [
        (CONTENT[:-1] + b"x", r"SHA-256 [0-9a-f]{16}\.\.\. instead of"),
        (CONTENT + b"more", f"{len(CONTENT) + 4} bytes instead of {len(CONTENT)}"),
    ],
)
def test_another_content_than_announced_is_refused_in_one_line(hub: FakeHub, tmp_path: Path, served: bytes, fault: str):
    hub.served["auxiliary/weights.pth"] = served
    with pytest.raises(DamagedDownloadError, match=fault) as caught:
        download(FILE, tmp_path)
    assert str(caught.value).startswith(f"auxiliary/weights.pth from {REPOSITORY} arrived damaged")
    assert "run the same command again" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files_in(tmp_path) == set()
    hub.served.clear()
    assert download(FILE, tmp_path).read_bytes() == CONTENT


def test_a_file_that_is_always_cut_short_is_never_taken_for_whole(hub: FakeHub, tmp_path: Path):
    hub.served["auxiliary/weights.pth"] = CONTENT[:1000]
    with pytest.raises(HubUnreachableError, match=r"weights\.pth"):
        download(FILE, tmp_path)
    assert not (tmp_path / "auxiliary" / "weights.pth").exists()


def test_the_part_of_another_revision_is_not_continued(hub: FakeHub, tmp_path: Path):
    (tmp_path / "auxiliary").mkdir()
    old = tmp_path / "auxiliary" / ".weights.pth.0123456789ab.part"
    old.write_bytes(b"old revision")
    download(FILE, tmp_path)
    assert hub.ranges("weights.pth") == [None]
    assert files_in(tmp_path) == {"auxiliary/weights.pth"}


def test_what_the_hub_lacks_is_named_with_the_remedy(hub: FakeHub, tmp_path: Path):
    with pytest.raises(
        MissingRepositoryError, match=r"has no repository a/b.*HF_ENDPOINT, or put .*x\.pt there by hand"
    ):
        download(WeightFile("x.pt", "a/b", "inference"), tmp_path)
    with pytest.raises(MissingOnHubError, match=rf"{REPOSITORY} on {hub.endpoint} has no file x\.pt: name a mirror"):
        download(WeightFile("x.pt", REPOSITORY, "inference"), tmp_path)


def test_the_older_name_on_the_hub_serves(hub: FakeHub, tmp_path: Path):
    file = WeightFile("stable_syncnet.pt", REPOSITORY, "training", older_path="latentsync_syncnet.pt")
    assert download(file, tmp_path) == tmp_path / "stable_syncnet.pt"
    assert file.is_here(tmp_path)


def test_a_refusal_and_a_server_that_is_no_hub_are_named(hub: FakeHub, tmp_path: Path, monkeypatch):
    hub.refused.add("auxiliary/weights.pth")
    with pytest.raises(HubUnreachableError, match=r"weights\.pth of .* failed: .*403") as caught:
        download(FILE, tmp_path)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("tests.fake_hub._Handler._answer", lambda handler: handler._head(200))
    with pytest.raises(HubUnreachableError, match="is not a model hub: check HF_ENDPOINT and proxies"):
        look_up(REPOSITORY, "config.json")


def test_a_hub_answers_also_by_refusing_and_not_offline(hub: FakeHub, monkeypatch):
    assert hub_answers(REPOSITORY)
    assert hub_answers("no/such")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub_answers(REPOSITORY)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert not hub_answers(REPOSITORY)


def test_two_downloads_into_one_folder_do_not_meet(hub: FakeHub, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(hub_module, "_LOCK_SECONDS", 0.1)
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with hub_module._only_download(tmp_path):
            entered.set()
            leave.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    assert entered.wait(30)
    try:
        with pytest.raises(InputError, match="another process downloads into"):
            download(FILE, tmp_path)
    finally:
        leave.set()
        other.join()
    assert download(FILE, tmp_path).read_bytes() == CONTENT


def test_a_full_disk_is_named_before_anything_is_received(hub: FakeHub, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"0\.0 GB free and the download needs 0\.0 GB: make room"):
        download(FILE, tmp_path)
    assert hub.ranges("weights.pth") == []


def test_a_file_here_is_compared_by_size_and_hash(hub: FakeHub, tmp_path: Path):
    remote = find_on_hub(FILE)
    path = tmp_path / "weights.pth"
    path.write_bytes(CONTENT)
    assert difference(path, remote) is None
    path.write_bytes(CONTENT[:-1] + b"x")
    assert "SHA-256" in str(difference(path, remote))
    path.write_bytes(b"short")
    assert difference(path, remote) == f"5 bytes instead of {len(CONTENT)}"
