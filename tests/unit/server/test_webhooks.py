import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from latentsync.jobs.job import JobState
from latentsync.jobs.store import JobStore
from latentsync.server.api_keys import ApiKeys
from latentsync.server.outbound import Outbound
from latentsync.server.webhooks import SIGNATURE, TIMESTAMP, Webhooks, sign
from tests.fake_service import ANNA
from tests.unit.server.test_outbound import web_server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[JobStore]:
    store = JobStore(tmp_path / "jobs.sqlite")
    yield store
    store.close()


def end_job(store: JobStore, job_id: str, url: str | None, owner: str = "anna") -> None:
    store.create(job_id, "lipsync", owner)
    store.enqueue(job_id, {"webhook_url": url})
    store.end(job_id, JobState.DONE)


def sending(store: JobStore, outbound: Outbound, retry_after_s: tuple[float, ...] = (0.0, 0.0)) -> Webhooks:
    return Webhooks(store, ApiKeys((ANNA,)), outbound, lambda record: {"id": record.id}, retry_after_s)


def wait_until_announced(store: JobStore) -> None:
    until = time.monotonic() + 30
    while store.unannounced():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_the_end_is_sent_once_and_signed_with_the_key_of_the_owner(store: JobStore):
    with web_server() as (outbound, url, requests):
        end_job(store, "a", f"{url}/hook")
        end_job(store, "b", None)
        end_job(store, "c", f"{url}/hook", owner="gone")
        with sending(store, outbound) as webhooks:
            wait_until_announced(store)
            end_job(store, "d", f"{url}/hook")
            webhooks.announce("d")
            wait_until_announced(store)
    assert [json.loads(body) for _, _, body, _ in requests] == [{"id": "a"}, {"id": "d"}]
    method, path, body, headers = requests[0]
    assert (method, path) == ("POST", "/hook")
    assert headers[SIGNATURE.lower()] == sign(ANNA.key, headers[TIMESTAMP.lower()], body)


def test_the_signature_is_that_of_openssl():
    """``printf '1700000000.{"id": "a"}' | openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkkkkkkkkkk``"""
    expected = "b348456163fa99743fab20abfffb3b2e3536b5a4b2f987e90f52f1a567b86ceb"
    assert sign("k" * 24, "1700000000", b'{"id": "a"}') == f"sha256={expected}"


@pytest.mark.parametrize("path", ["/absent", "/moved"])
def test_a_failed_attempt_is_repeated_a_few_times(store: JobStore, path: str):
    with web_server() as (outbound, url, requests):
        end_job(store, "a", url + path)
        with sending(store, outbound):
            wait_until_announced(store)
    assert len(requests) == 3


def test_what_was_not_sent_is_sent_after_a_restart(store: JobStore):
    with web_server() as (outbound, url, requests):
        end_job(store, "a", f"{url}/absent")
        with sending(store, outbound, (1000.0,)):
            until = time.monotonic() + 30
            while not requests and time.monotonic() < until:
                time.sleep(0.005)
        assert [record.id for record in store.unannounced()] == ["a"]
        with sending(store, outbound):
            wait_until_announced(store)
    assert len(requests) == 4
