"""Downloads of published files, resumed where they broke off, and accepted only with the right size and hash.

Done here rather than by `hf_hub_download`: that one starts anew in every process and compares sizes only.
"""

import errno
import hashlib
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from huggingface_hub import constants
from huggingface_hub.errors import HTTPError
from huggingface_hub.utils import WeakFileLock, build_hf_headers, get_session
from tqdm import tqdm

from latentsync.errors import InputError, LatentSyncError
from latentsync.hub import HubUnreachableError, MissingOnHubError, RemoteFile, first_line, look_up
from latentsync.weights import CHECKPOINTS, WeightFile

MAX_ATTEMPTS = 3
"""Connections in a row that bring nothing new before a download gives up."""
PAUSE_SECONDS = 1.0
"""Wait before the next attempt."""

_BLOCK_BYTES = 1 << 20
_LOCK_NAME = ".download.lock"
_LOCK_SECONDS = 1.0
_LOCAL_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EIO}
_PARTIAL_CONTENT = 206
_RANGE_NOT_SATISFIABLE = 416


class DamagedDownloadError(LatentSyncError):
    """What was downloaded is not the file that the hub announced."""


class _BrokenOffError(Exception):
    """The connection ended before the file did."""


def download(file: WeightFile, checkpoints: Path = CHECKPOINTS) -> Path:
    """Brings one published file into the checkpoints folder; it appears whole and verified, or not at all.

    What an interrupted download received stays under a hidden name beside the file, and the next call resumes there.

    Raises:
        HubUnreachableError: the hub refused, or the connection broke repeatedly.
        MissingOnHubError: the hub does not have the file.
        DamagedDownloadError: size or SHA-256 is not what the hub announced; nothing of it was kept.
        InputError: the file cannot be written, or another process downloads into this folder.
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
    """The newest revision of a published file, looked up under its name and then under its older one.

    Raises:
        MissingOnHubError: it is under neither.
        HubUnreachableError: the hub refused or did not answer.
    """
    try:
        return look_up(file.repository, file.hub_name or file.path)
    except MissingOnHubError:
        if file.older_path is None:
            raise
        return look_up(file.repository, file.older_path)


def difference(path: Path, remote: RemoteFile) -> str | None:
    """How a file here differs from the hub's, in words, or None where it does not as far as the hub's hash tells."""
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
    """Where the bytes of this revision are gathered; those of other revisions are removed."""
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
    """Receives what is missing, on as many connections as it takes."""
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
    """Appends one connection's bytes to the part."""
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
            for block in response.iter_bytes():  # without a size: gathered blocks would be lost where it breaks
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
    """What tells whether somebody else put a file there meanwhile; None where there is none."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
