"""Webhooks: the end of a job is sent to the address that its request names, signed with the key of its owner.

A thread of its own sends them, so that a slow host never blocks the queue. The store records which ends were announced:
after a restart the others are sent again, so a receiver may get one twice.
"""

import hmac
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import Any

from latentsync.errors import InputError
from latentsync.jobs.store import JobRecord, JobStore, JobStoreError
from latentsync.server.api_keys import ApiKeys
from latentsync.server.outbound import Outbound

logger = logging.getLogger(__name__)

SIGNATURE = "X-LatentSync-Signature"
TIMESTAMP = "X-LatentSync-Timestamp"
RETRY_AFTER_S = (2.0, 10.0, 60.0, 300.0)
"""Times between the attempts."""
_SUCCESS = range(200, 300)


def sign(key: str, timestamp: str, body: bytes) -> str:
    """Return ``sha256=`` and the HMAC-SHA256 of ``TIMESTAMP.BODY`` in hexadecimal digits."""
    return "sha256=" + hmac.new(key.encode(), f"{timestamp}.".encode() + body, sha256).hexdigest()


class Webhooks:
    """Sends the ends of jobs; a context manager whose block the thread runs in.

    Args:
        store: the jobs.
        keys: the clients; the receiver checks the signature with its own key.
        outbound: sends the requests.
        view: returns what is sent of a job.
        retry_after_s: times between the attempts.
    """

    def __init__(
        self,
        store: JobStore,
        keys: ApiKeys | None,
        outbound: Outbound,
        view: Callable[[JobRecord], Mapping[str, Any]],
        retry_after_s: tuple[float, ...] = RETRY_AFTER_S,
    ) -> None:
        self._store, self._keys, self._outbound, self._view = store, keys, outbound, view
        self._retry_after_s = retry_after_s
        self._attempts: dict[str, tuple[int, float]] = {}  # by id: number of attempts, time of the next one
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="latentsync-webhooks", daemon=True)

    def __enter__(self) -> "Webhooks":
        for record in self._store.unannounced():
            self.announce(record.id)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join(self._outbound.timeout_s)

    def announce(self, job_id: str) -> None:
        """Send the end of a job, soon."""
        with self._changed:
            self._attempts[job_id] = (0, time.monotonic())
            self._changed.notify_all()

    def _run(self) -> None:
        while (job_id := self._next()) is not None:
            try:
                self._attempt(job_id)
            except JobStoreError as error:
                logger.warning("a webhook could not be recorded: %s", error)

    def _next(self) -> str | None:
        """Wait for the next attempt that is due; return its job, or None at the end."""
        with self._changed:
            while not self._is_closed:
                due = min(self._attempts.items(), key=lambda item: item[1][1], default=None)
                if due is None:
                    self._changed.wait()
                elif due[1][1] <= time.monotonic():
                    return due[0]
                else:
                    self._changed.wait(due[1][1] - time.monotonic())
            return None

    def _attempt(self, job_id: str) -> None:
        number, _ = self._attempts[job_id]
        record = self._store.get(job_id)
        is_over = record is None or self._is_sent(record) or number >= len(self._retry_after_s)
        with self._changed:
            if is_over:
                self._attempts.pop(job_id, None)
            else:
                self._attempts[job_id] = (number + 1, time.monotonic() + self._retry_after_s[number])
        if is_over:
            self._store.announced(job_id)

    def _is_sent(self, record: JobRecord) -> bool:
        """Send the end of a job; return True if it arrived, or if there is nobody to tell."""
        url = record.request.get("webhook_url")
        client = None if self._keys is None else self._keys.named(record.owner)
        if not url or client is None:
            return True
        body, timestamp = json.dumps(self._view(record)).encode(), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            TIMESTAMP: timestamp,
            SIGNATURE: sign(client.key, timestamp, body),
        }
        try:
            with self._outbound.send("POST", url, body, headers) as answer:
                if answer.status_code in _SUCCESS:
                    return True
                logger.warning("the webhook of job %s was answered with status %d", record.id, answer.status_code)
        except InputError as error:
            logger.warning("the webhook of job %s was not sent: %s", record.id, error)
        return False
