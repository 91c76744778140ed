"""The queue: order, limits, what survives, what is removed."""

import sqlite3
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from serving import MakeApp, picture, service_of, until

from anyview.serve.folders import list_files
from anyview.serve.jobs import MOST_ATTEMPTS, Job, JobStore, QueueFull, StoredFile
from anyview.serve.sweeper import Incoming
from anyview.serve.turns import fair_order

FILES = {"files": ("a.png", picture(), "image/png")}


@pytest.fixture
def store(tmp_path):
    store = JobStore(tmp_path / "jobs.sqlite3")
    yield store
    store.close()


def test_owners_take_turns_and_keep_their_own_order():
    waiting = [("a1", "anna"), ("a2", "anna"), ("a3", "anna"), ("b1", "ben"), ("c1", "cem"), ("b2", "ben")]
    assert fair_order(waiting, {}) == ["a1", "b1", "c1", "a2", "b2", "a3"]


def test_whose_turn_was_last_is_last():
    waiting = [("a1", "anna"), ("a2", "anna"), ("b1", "ben"), ("c1", "cem")]
    assert fair_order(waiting, {"anna": 7, "ben": 3}) == ["c1", "b1", "a1", "a2"]
    assert fair_order([], {"anna": 7}) == []


def test_one_owner_with_many_jobs_does_not_hold_up_another(store: JobStore):
    """By hand: anna has five jobs when ben comes with two; he waits for the one that runs and no other."""
    for _ in range(5):
        store.add("anna", "tiny", "{}")
    taken = [store.take(0.1)]
    late = [store.add("ben", "tiny", "{}") for _ in range(2)]
    assert store.positions()[late[0].id] == 1
    assert store.positions()[late[1].id] == 3
    taken += [store.take(0.1) for _ in range(6)]
    assert [job.owner for job in taken if job is not None] == ["anna", "ben", "anna", "ben", "anna", "anna", "anna"]
    assert store.take(0.0) is None


def test_each_job_is_given_to_one_worker(store: JobStore):
    ids = {store.add(f"owner {index % 3}", "tiny", "{}").id for index in range(30)}
    taken: list[str] = []

    def work() -> None:
        while (job := store.take(0.0)) is not None:
            taken.append(job.id)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == len(ids)
    assert set(taken) == ids


def test_a_full_queue_takes_no_more(store: JobStore):
    for owner in ("anna", "ben"):
        store.add(owner, "tiny", "{}", queue=2, queue_per_token=5)
    with pytest.raises(QueueFull, match="2 jobs are waiting"):
        store.add("cem", "tiny", "{}", queue=2, queue_per_token=5)
    with pytest.raises(QueueFull, match="1 of your jobs"):
        store.add("anna", "tiny", "{}", queue=9, queue_per_token=1)
    store.take(0.0)
    store.add("cem", "tiny", "{}", queue=2, queue_per_token=5)


def test_a_job_comes_back_as_it_was_from_the_file(tmp_path):
    first = JobStore(tmp_path / "jobs.sqlite3")
    request = '{"formats": ["glb"]}'
    job = first.add("anna", "tiny", request, formats=["glb"], names=["a.png", "b.png"])
    first.take(0.0)
    first.progress(job.id, "predicting", 0.5)
    first.share(job.id, "hash")
    first.finish(job.id, "done", keep_s=60.0, views=2, files=[StoredFile("view/ü.bin", 7, "image/png")])
    ended = first.get(job.id)
    first.close()
    second = JobStore(tmp_path / "jobs.sqlite3")
    assert second.get(job.id) == second.shared("hash") == ended
    assert ended is not None
    assert (ended.formats, ended.names) == (("glb",), ("a.png", "b.png"))
    assert second.request(job.id) == request
    assert second.files(job.id) == (StoredFile("view/ü.bin", 7, "image/png"),)
    assert (ended.size, ended.thumbnail) == (7, False)
    assert (ended.state, ended.stage, ended.progress) == ("done", "done", 1.0)
    second.remove(job.id)
    assert second.shared("hash") is None
    assert second.files(job.id) == ()
    second.close()


def test_an_ended_job_changes_no_more(store: JobStore):
    job = store.add("anna", "tiny", "{}")
    store.cancel(job.id, keep_s=60.0)
    for change in (
        lambda: store.finish(job.id, "done", keep_s=60.0),
        lambda: store.progress(job.id, "predicting", 0.5),
        lambda: store.requeue(job.id, keep_s=60.0, counts=True),
        lambda: store.cancel(job.id, keep_s=60.0),
    ):
        before = store.get(job.id)
        change()
        assert store.get(job.id) == before
    assert store.get(job.id).state == "cancelled"


def test_a_job_under_which_servers_end_is_not_tried_for_ever(store: JobStore):
    id = store.add("anna", "tiny", "{}").id
    for attempt in range(1, MOST_ATTEMPTS):
        assert store.take(0.0).attempts == attempt
        store.requeue(id, keep_s=60.0, counts=True)
        assert store.get(id).state == "queued"
    store.take(0.0)
    store.requeue(id, keep_s=60.0, counts=True)
    assert (store.get(id).state, store.get(id).error) == ("failed", "the server ended 3 times during this job")


def test_an_orderly_end_of_the_server_does_not_count(store: JobStore):
    id = store.add("anna", "tiny", "{}").id
    for _ in range(3 * MOST_ATTEMPTS):
        assert store.take(0.0).attempts == 1
        store.requeue(id, keep_s=60.0, counts=False)
    assert store.get(id).state == "queued"


def test_waiting_and_running_jobs_are_not_removed(store: JobStore):
    jobs = [store.add("anna", "tiny", "{}") for _ in range(2)]
    store.take(0.0)
    for job in jobs:
        store.remove(job.id)
        assert store.get(job.id) is not None


def test_what_fails_in_the_middle_of_a_change_changes_nothing(store: JobStore):
    job = store.add("anna", "tiny", "{}")
    with pytest.raises(sqlite3.IntegrityError):
        store.add("ben", "tiny", "{}", id=job.id)
    assert [job.owner for job in store.jobs()] == ["anna"]
    store.add("ben", "tiny", "{}")
    assert [job.owner for job in store.jobs()] == ["ben", "anna"]


def test_a_full_queue_says_when_to_try_again(make_app: MakeApp):
    client = make_app(queue=2)
    for _ in range(2):
        assert client.post("/v1/jobs", files=FILES).status_code == 201
    for route in ("/v1/jobs", "/v1/depth", "/v1/examples/room"):
        answer = client.post(route, files=FILES) if "examples" not in route else client.post(route)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "2 jobs are waiting" in answer.json()["error"]
    folders = service_of(client).folders
    assert list(folders.uploads.iterdir()) == []
    assert len(list(folders.jobs.iterdir())) == 2


def test_one_token_cannot_fill_the_queue(make_app: MakeApp):
    client = make_app({"anna": "a" * 16, "ben": "b" * 16}, queue=10, queue_per_token=2)
    answers = [
        client.post("/v1/jobs", files=FILES, headers={"Authorization": f"Bearer {token * 16}"}).status_code
        for token in "aaab"
    ]
    assert answers == [201, 201, 429, 201]


def test_waiting_jobs_say_where_they_stand_and_can_be_cancelled_and_removed(make_app: MakeApp):
    client = make_app()
    first, second = (client.post("/v1/jobs", files=FILES).json() for _ in range(2))
    assert (first["position"], second["position"]) == (1, 2)
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 409
    assert client.get(f"/v1/jobs/{first['id']}/archive.zip").status_code == 409
    cancelled = client.post(f"/v1/jobs/{first['id']}/cancel").json()
    assert (cancelled["state"], cancelled["position"]) == ("cancelled", None)
    assert client.get(f"/v1/jobs/{second['id']}").json()["position"] == 1
    assert client.get("/v1/jobs").json()["jobs"][1] == without_files(cancelled)
    assert len(client.get("/v1/jobs", params={"limit": 1}).json()["jobs"]) == 1
    assert client.delete(f"/v1/jobs/{first['id']}").status_code == 204
    assert client.get(f"/v1/jobs/{first['id']}").status_code == 404


def without_files(job: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in job.items() if name != "files"}


def test_a_list_of_jobs_says_nothing_of_their_files(make_app: MakeApp):
    """Results of many views have hundreds of files, and the page asks for the list again and again."""
    client = make_app()
    store = service_of(client).store
    ids = [store.add("local", "tiny", "{}").id for _ in range(3)]
    views = [StoredFile(f"view/{view:03d}.depth", 1, "application/octet-stream") for view in range(600)]
    store.finish(ids[0], "done", keep_s=60.0, views=200, files=views)
    store.finish(ids[1], "done", keep_s=60.0, views=200, files=[*views, StoredFile("thumb.jpg", 5, "image/jpeg")])
    listed = client.get("/v1/jobs")
    assert len(listed.content) < 2000
    assert [job["thumbnail"] for job in listed.json()["jobs"]] == [False, True, False]
    for job in listed.json()["jobs"]:
        alone = client.get(f"/v1/jobs/{job['id']}").json()
        assert job == without_files(alone)
        assert len(alone["files"]) == {ids[0]: 600, ids[1]: 601, ids[2]: 0}[job["id"]]


def test_depth_that_takes_too_long_comes_as_its_job(make_app: MakeApp):
    client = make_app(depth_wait_s=0.2)
    answer = client.post("/v1/depth", files=FILES)
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert client.get(answer.headers["location"]).json() == answer.json()


def test_examples_are_queued_with_options(make_app: MakeApp):
    client = make_app()
    names = [example["name"] for example in client.get("/v1/examples").json()["examples"]]
    assert names == ["room", "street", "landscape", "still_life"]
    job = client.post("/v1/examples/room", json={"formats": ["glb"]}).json()
    assert (job["example"], job["formats"], job["inputs"]) == ("room", ["glb"], [])
    assert client.post("/v1/examples/castle").status_code == 404


def test_expired_and_surplus_results_are_swept_the_oldest_first(make_app: MakeApp):
    client = make_app(disk_mib=0.025)
    service = service_of(client)
    ids = [service.store.add("local", "tiny", "{}").id for _ in range(4)]
    for id, keep_s in zip(ids, (-1.0, 60.0, 60.0, 60.0), strict=True):
        service.folders.result(id).mkdir(parents=True)
        (service.folders.result(id) / "scene.glb").write_bytes(bytes(12_000))
        service.store.finish(id, "done", keep_s=keep_s, files=list(list_files(service.folders.result(id))))
    service.sweeper.sweep()
    assert [job["id"] for job in client.get("/v1/jobs").json()["jobs"]] == [ids[3], ids[2]]
    assert len(list(service.folders.jobs.iterdir())) == 4  # for who had asked for a file before
    service.sweeper.sweep()
    assert {folder.name for folder in service.folders.jobs.iterdir()} == {ids[3], ids[2]}
    assert service.sweeper.disk_bytes == 24_000


def test_what_was_uploaded_counts_as_what_is_on_the_disk(make_app: MakeApp):
    """By hand: 26,214 bytes may be there; two results of 12,000 may, but not beside an upload of 7 kB."""
    client = make_app(disk_mib=0.025)
    service = service_of(client)
    for _ in range(2):
        id = service.store.add("local", "tiny", "{}").id
        service.store.finish(id, "done", keep_s=60.0, files=[StoredFile("scene.glb", 12_000, "model/gltf-binary")])
    service.sweeper.sweep()
    assert service.sweeper.disk_bytes == 24_000
    first = client.post("/v1/jobs", files=FILES).json()["id"]
    size = len(picture())
    assert 3_000 < size < 9_000
    service.sweeper.sweep()
    assert service.sweeper.disk_bytes == 12_000 + size
    assert len(client.get("/v1/jobs").json()["jobs"]) == 2
    service.sweeper.active_uploads["another"] = Incoming("anna", 20_000)
    service.sweeper.sweep()
    assert service.sweeper.disk_bytes == 20_000 + size
    refused = client.post("/v1/jobs", files=FILES)
    assert (refused.status_code, refused.headers["retry-after"]) == (507, "5")
    assert "fill the disk" in refused.json()["error"]
    del service.sweeper.active_uploads["another"]
    client.post(f"/v1/jobs/{first}/cancel")
    assert client.post("/v1/jobs", files=FILES).status_code == 201


def test_uploads_count_as_jobs_while_they_come_in(make_app: MakeApp):
    """Otherwise one token could fill the disk with uploads of which each finds room in the queue."""
    client = make_app({"anna": "a" * 16, "ben": "b" * 16}, queue=4, queue_per_token=2)
    uploads = service_of(client).sweeper.active_uploads
    uploads["1"] = Incoming("anna")

    def status(token: str, route: str = "/v1/jobs") -> int:
        answer = client.post(route, files=FILES, headers={"Authorization": f"Bearer {token * 16}"})
        assert (answer.status_code == 429) == ("retry-after" in answer.headers)
        return answer.status_code

    assert [status("a"), status("a"), status("b")] == [201, 429, 201]
    uploads["2"] = Incoming("cem")
    assert [status("b", route) for route in ("/v1/jobs", "/v1/depth", "/v1/examples/room")] == [429] * 3
    uploads.clear()
    assert status("a") == 201
    assert uploads == {}


def test_results_are_swept_again_and_again_once_they_have_been_kept_long_enough(make_app: MakeApp):
    client = make_app(keep_s=0.2, sweep_s=0.05)
    sweeper = service_of(client).sweeper
    id = client.post("/v1/jobs", files=FILES).json()["id"]
    cancelled = client.post(f"/v1/jobs/{id}/cancel").json()
    assert cancelled["expires"] - cancelled["finished"] == pytest.approx(0.2, abs=1e-3)
    sweeper.start()
    try:
        until(lambda: not service_of(client).folders.job(id).exists())
        assert client.get(f"/v1/jobs/{id}").status_code == 404
    finally:
        sweeper.stop()
        sweeper.join()


def test_jobs_that_take_no_space_are_not_kept_without_number(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("anyview.serve.sweeper.MOST_KEPT", 2)
    service = service_of(make_app())
    ids = [service.store.add("anna", "tiny", "{}").id for _ in range(4)]
    for id in ids[:3]:
        service.store.cancel(id, keep_s=60.0)
    service.sweeper.sweep()
    assert [job.id for job in service.store.jobs()] == [ids[3], ids[2], ids[1]]


def test_links_and_sessions_have_a_number(make_app: MakeApp, store: JobStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("anyview.serve.jobs.MOST_SHARES", 2)
    monkeypatch.setattr("anyview.serve.jobs.MOST_SESSIONS", 2)
    client = make_app()
    id = client.post("/v1/jobs", files=FILES).json()["id"]
    share = f"/v1/jobs/{id}/share"
    assert [client.post(share).status_code for _ in range(3)] == [201, 201, 409]
    assert client.delete(share).status_code == 204
    assert client.post(share).status_code == 201
    assert not store.share("gone", "hash")
    expires = time.time() + 60
    for number, token in enumerate(["anna", "ben", "anna", "anna"]):
        store.start_session(f"browser {number}", token, expires + number)
    tokens = [store.session_token(f"browser {number}") for number in range(4)]
    assert tokens == [None, "ben", "anna", "anna"]


def test_a_result_that_is_removed_while_it_is_asked_for_is_said_to_be(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
):
    """In between the answer that it is done and the reading of its files."""
    client = make_app()
    service = service_of(client)
    files = [StoredFile("depth_png/a.png", 5, "image/png")]

    async def done_and_removed(id: str, seconds: float) -> Job | None:
        service.store.finish(id, "done", keep_s=60.0, files=files)
        job = service.store.get(id)
        if not files:
            service.store.remove(id)
        return job

    monkeypatch.setattr(service, "wait", done_and_removed)
    answer = client.post("/v1/depth", files=FILES)
    assert (answer.status_code, answer.json()) == (404, {"error": "the result has been removed"})
    [job] = client.get("/v1/jobs").json()["jobs"]
    answer = client.get(f"/v1/jobs/{job['id']}/archive.zip")
    assert (answer.status_code, answer.json()) == (404, {"error": "the result has been removed"})
    assert client.get(f"/v1/jobs/{job['id']}/files/depth_png/a.png").status_code == 404
    files.clear()
    assert client.post("/v1/depth", files=FILES).status_code == 404


def test_what_belongs_to_nobody_is_swept(make_app: MakeApp):
    client = make_app()
    service = service_of(client)
    waiting = client.post("/v1/jobs", files=FILES).json()["id"]
    orphans = [service.folders.uploads / "a", service.folders.jobs / "b", service.folders.examples / ".room-x"]
    active = service.folders.uploads / "c"
    for folder in (*orphans, active):
        folder.mkdir()
        (folder / "0000.part").write_bytes(b"x")
    service.sweeper.active_uploads["c"] = Incoming("local")
    service.sweeper.sweep(at_once=True)
    assert not any(folder.exists() for folder in orphans)
    assert active.is_dir()
    assert service.folders.inputs(waiting).is_dir()


def test_metrics_can_be_read_and_are_right(make_app: MakeApp):
    client = make_app()
    client.post("/v1/jobs", files=FILES)
    client.get("/v1/jobs/none")
    client.get("/<script>")
    text = client.get("/metrics").text
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["anyview_jobs", ("state", "queued")] == 1
    assert values["anyview_jobs", ("state", "running")] == 0
    labels = ("method", "POST"), ("route", "/v1/jobs"), ("status", "201")
    assert values[("anyview_requests_total", *labels)] == 1
    assert "script" not in text  # paths that are no routes are counted together


def test_readiness_says_what_is_missing(make_app: MakeApp):
    client = make_app()
    assert client.get("/healthz").json() == {"status": "ok"}
    assert (client.get("/readyz").status_code, client.get("/readyz").json()) == (503, {"status": "starting"})


def test_pictures_keep_their_order(make_app: MakeApp):
    client = make_app()
    contents = [picture(seed) for seed in range(12)]
    names = [f"{11 - index}.png" for index in range(12)]
    files = [("files", (name, content, "image/png")) for name, content in zip(names, contents, strict=True)]
    id = client.post("/v1/jobs", files=files).json()["id"]
    service = service_of(client)
    inputs = service.folders.inputs_of(service.store.get(id))
    assert [file.path.read_bytes() for file in inputs] == contents
    assert [file.name for file in inputs] == names


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder that nobody can write into")
def test_jobs_come_in_where_the_server_stands_in_a_folder_that_it_cannot_write_into(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
):
    client = make_app()
    monkeypatch.chdir("/proc")
    assert client.post("/v1/jobs", files=FILES).status_code == 201
