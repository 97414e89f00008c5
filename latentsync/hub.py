"""Look up and download published weight files on the model hub.

A download resumes where it broke off, and is accepted only with the announced size and hash. `hf_hub_download` is not
used because it restarts from the beginning in every process and compares sizes only.
"""

import errno
import hashlib
import os
import re
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import constants, get_hf_file_metadata, hf_hub_url
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HTTPError, RepositoryNotFoundError
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session
from tqdm import tqdm

from latentsync.errors import InputError, LatentSyncError, first_line
from latentsync.weights import CHECKPOINTS, WeightFile

PROBE_SECONDS = 4.0
MAX_ATTEMPTS = 3
"""Consecutive connections without new bytes before a download fails."""
PAUSE_SECONDS = 1.0
"""Wait before the next attempt."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_BLOCK_BYTES = 1 << 20
_LOCK_NAME = ".download.lock"
_LOCK_SECONDS = 1.0
_LOCAL_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO}
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


class HubUnreachableError(LatentSyncError):
    """The hub did not answer, or the connection broke."""


class MissingOnHubError(LatentSyncError):
    """The hub lacks a repository or a file, or hides it from this user."""


class MissingRepositoryError(MissingOnHubError):
    """The hub lacks a whole repository, or hides it from this user."""


class DamagedDownloadError(LatentSyncError):
    """The downloaded bytes are not the file that the hub announced."""


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


@dataclass(frozen=True)
class RemoteFile:
    """One revision of a file in a repository.

    Attributes:
        url: download address; may redirect to another host.
        etag: identifier of the content: the SHA-256 of a large file, a git hash of a small one.
        size: bytes; None if the hub does not report it.
    """

    url: str
    etag: str
    size: int | None

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the content (64 hex digits); None for small files, which the hub identifies by a git hash."""
        return self.etag if _SHA256.fullmatch(self.etag) else None


def hub_answers(repository: str, timeout_s: float = PROBE_SECONDS) -> bool:
    """Return True if the hub answers a request for a repository within `timeout_s` seconds, even with a refusal.

    Return False immediately in offline mode. The request is sent once, without the hub client, which repeats failed
    requests for many seconds. It runs in a thread because a host name lookup may exceed every connection timeout.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    answered: list[bool] = []

    def probe() -> None:
        try:
            response = get_session().head(f"{constants.ENDPOINT}/api/models/{repository}", timeout=timeout_s)
        except (OSError, HTTPError):
            return
        answered.append(response.status_code < 500)

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return answered == [True]


def look_up(repository: str, name: str) -> RemoteFile:
    """Look up the newest revision of a file on the hub.

    Raises:
        MissingOnHubError: the hub lacks the repository or the file.
        HubUnreachableError: the hub refused or did not answer, or the server is not a model hub.
    """
    try:
        found = get_hf_file_metadata(hf_hub_url(repository, name))
    except RepositoryNotFoundError as error:
        message = f"{constants.ENDPOINT} has no repository {repository}, or does not show it"
        raise MissingRepositoryError(message) from error
    except EntryNotFoundError as error:
        raise MissingOnHubError(f"{repository} on {constants.ENDPOINT} has no file {name}") from error
    except (OSError, HTTPError) as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 404:
            raise MissingOnHubError(f"{constants.ENDPOINT} has no {name} of {repository}") from error
        raise HubUnreachableError(f"looking up {name} of {repository} failed: {first_line(error)}") from error
    if found.commit_hash is None or found.etag is None:
        raise HubUnreachableError(
            f"what answers at {constants.ENDPOINT} is not a model hub: check HF_ENDPOINT and proxies"
        )
    url = hf_hub_url(repository, name, revision=found.commit_hash)
    return RemoteFile(url=url, etag=found.etag, size=found.size)


def download(file: WeightFile, checkpoints: Path = CHECKPOINTS) -> Path:
    """Download one published file into the checkpoints folder.

    The file appears under its name only when it is complete and verified. The bytes of an interrupted download are kept
    in a hidden file beside it, and the next call resumes from there.

    Returns:
        Path of the file.

    Raises:
        HubUnreachableError: the hub refused, or the connection broke repeatedly.
        MissingOnHubError: the hub lacks the file.
        DamagedDownloadError: size or SHA-256 differs from the announced one; the bytes were removed.
        InputError: the file cannot be written, or another process is downloading into this folder.
    """
    target = checkpoints / file.path
    try:
        remote = find_on_hub(file)
        target.parent.mkdir(parents=True, exist_ok=True)
        before = _stamp(target)
        with _only_download(checkpoints):
            part = _part(target, remote)
            _check_space(part, remote)
            _receive_all(part, remote, file.path)
            _verify(part, remote, file)
            if _stamp(target) != before:
                part.unlink()
                raise InputError(f"{target} changed during the download and was kept: run the same command again")
            os.replace(part, target)
    except HubUnreachableError as error:
        raise HubUnreachableError(f"downloading {file.path} from {file.repository} failed: {error}") from error
    except MissingOnHubError as error:
        raise type(error)(f"{error}: name a mirror by HF_ENDPOINT, or put {target} there by hand") from error
    except OSError as error:
        if error.errno not in _LOCAL_FAULTS:
            raise
        raise InputError(f"cannot write {target}: {error.strerror}") from error
    return target


def find_on_hub(file: WeightFile) -> RemoteFile:
    """Look up the newest revision of a published file, under its name and then under its older name.

    Raises:
        MissingOnHubError: the hub has the file under neither name.
        HubUnreachableError: the hub refused or did not answer.
    """
    try:
        return look_up(file.repository, file.hub_name or file.path)
    except MissingOnHubError:
        if file.older_path is None:
            raise
        return look_up(file.repository, file.older_path)


def difference(path: Path, remote: RemoteFile) -> str | None:
    """Return how a local file differs from the hub's in size or SHA-256; None if it does not.

    Small files are compared by size only, because the hub does not report their SHA-256.
    """
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        return f"{size} bytes instead of {remote.size}"
    if remote.sha256 is None:
        return None
    digest = hashlib.sha256()
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK_BYTES):
            digest.update(block)
    found = digest.hexdigest()
    return None if found == remote.sha256 else f"SHA-256 {found[:16]}... instead of {remote.sha256[:16]}..."


@contextmanager
def _only_download(checkpoints: Path) -> Iterator[None]:
    try:
        with WeakFileLock(checkpoints / _LOCK_NAME, timeout=_LOCK_SECONDS):
            yield
    except TimeoutError as error:
        raise InputError(f"another process downloads into {checkpoints}: wait for its end, then try again") from error


def _part(target: Path, remote: RemoteFile) -> Path:
    """Return the path of this revision's partial download; remove partial downloads of other revisions."""
    part = target.with_name(f".{target.name}.{hashlib.sha256(remote.etag.encode()).hexdigest()[:12]}.part")
    ours = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{12}}\.part")
    for other in target.parent.iterdir():
        if other != part and ours.fullmatch(other.name) and other.is_file() and not other.is_symlink():
            other.unlink(missing_ok=True)
    return part


def _check_space(part: Path, remote: RemoteFile) -> None:
    needed, free = (remote.size or 0) - _size(part), shutil.disk_usage(part.parent).free
    if needed > free:
        raise InputError(
            f"{part.parent} has {free / 1e9:.1f} GB free and the download needs {needed / 1e9:.1f} GB: make room"
        )


def _receive_all(part: Path, remote: RemoteFile, title: str) -> None:
    """Receive the missing bytes over one or more connections."""
    idle_attempts, most = 0, _size(part)
    with tqdm(total=remote.size, desc=title, unit="B", unit_scale=True, disable=None, leave=False) as bar:
        while True:
            try:
                _receive(part, remote, bar)
                return
            except (HTTPError, _BrokenOffError) as error:
                idle_attempts = 0 if _size(part) > most else idle_attempts + 1
                most = max(most, _size(part))
                if idle_attempts == MAX_ATTEMPTS:
                    reason = f"{first_line(error)} ({_size(part)} bytes are kept, the next call resumes)"
                    raise HubUnreachableError(reason) from error
            time.sleep(PAUSE_SECONDS)


def _receive(part: Path, remote: RemoteFile, bar: tqdm) -> None:
    """Append the bytes of one connection to the partial download."""
    have = _size(part)
    if remote.size is not None and have >= remote.size > 0:
        return
    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    timeout = constants.HF_HUB_DOWNLOAD_TIMEOUT
    with get_session().stream("GET", remote.url, headers=headers, timeout=timeout, follow_redirects=True) as response:
        if response.status_code == _RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        if response.status_code >= 400:
            raise _BrokenOffError(f"the hub answered {response.status_code} {response.reason_phrase}")
        is_rest = response.status_code == _PARTIAL_CONTENT
        with part.open("ab" if is_rest else "wb") as opened:
            bar.n = have if is_rest else 0
            # Without a chunk size: a partly filled chunk would be lost when the connection breaks.
            for block in response.iter_bytes():
                opened.write(block)
                bar.update(len(block))
    if remote.size is not None and _size(part) < remote.size:
        raise _BrokenOffError(f"the connection ended at {_size(part)} of {remote.size} bytes")


def _verify(part: Path, remote: RemoteFile, file: WeightFile) -> None:
    fault = difference(part, remote)
    if fault is not None:
        part.unlink()
        raise DamagedDownloadError(
            f"{file.path} from {file.repository} arrived damaged ({fault}) and was not kept: "
            "run the same command again, or name another mirror by HF_ENDPOINT"
        )


def _stamp(path: Path) -> tuple[int, int] | None:
    """Return size and modification time (ns), to detect a file written by another program; None if it is missing."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
