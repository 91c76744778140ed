"""Numbers for Prometheus."""

from collections.abc import Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anyview.serve.jobs import State


class Metrics:
    """What one server counts; not shared with others in the process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "anyview_requests", "Requests served.", ["method", "route", "status"], registry=self._registry
        )
        self._seconds = Histogram("anyview_request_seconds", "Time of requests.", ["route"], registry=self._registry)
        self._ended = Counter("anyview_jobs_ended", "Jobs ended, by state.", ["state"], registry=self._registry)
        self._job_seconds = Histogram(
            "anyview_job_seconds",
            "Time from start to end of jobs.",
            buckets=(0.5, 1, 2, 5, 10, 30, 60, 300, 1800, 3600),
            registry=self._registry,
        )
        self._jobs = Gauge("anyview_jobs", "Jobs that are there, by state.", ["state"], registry=self._registry)
        self._disk = Gauge(
            "anyview_disk_bytes", "Uploads and results on the disk at the last sweep.", registry=self._registry
        )
        self._workers = Gauge("anyview_workers_ready", "Worker processes that are ready.", registry=self._registry)
        self._restarts = Gauge("anyview_worker_restarts", "Worker processes that crashed.", registry=self._registry)

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        known = method if method in {"GET", "HEAD", "POST", "DELETE", "OPTIONS"} else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_job(self, state: str, seconds: float) -> None:
        """Count a job that ran and has ended."""
        self._ended.labels(state).inc()
        self._job_seconds.observe(seconds)

    def text(self, jobs: Mapping[str, int], disk_bytes: int, workers: int, restarts: int) -> bytes:
        """Write all numbers in Prometheus' format, with those that are looked up now."""
        for state in get_args(State):
            self._jobs.labels(state).set(jobs.get(state, 0))
        self._disk.set(disk_bytes)
        self._workers.set(workers)
        self._restarts.set(restarts)
        return generate_latest(self._registry)
