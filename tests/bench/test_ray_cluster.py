"""Runs on a cluster: the calls that Ray gets, and a real cluster of one machine where it is installed."""

import logging
import sys
import warnings
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace

import fake_sets
import pytest

from anyview.bench.command import run_bench
from anyview.bench.options import BenchOptions
from anyview.bench.processes import run_on_cluster, shards


def test_a_cluster_gets_a_part_for_each_worker(monkeypatch):
    """The calls that Ray gets, with a stand-in that does the work here."""
    asked = {}

    class TaskError(Exception):
        cause = ValueError("the folder holds results of another model")

    class Remote:
        def __init__(self, work):
            self.work = work

        def remote(self, *arguments):
            return lambda: self.work(*arguments)

    stand_in = ModuleType("ray")
    stand_in.is_initialized = lambda: "address" in asked
    stand_in.init = lambda **options: asked.update(options)
    stand_in.remote = lambda **options: asked.update(options) or Remote
    stand_in.get = lambda promises: [promise() for promise in promises]
    stand_in.exceptions = SimpleNamespace(RayTaskError=TaskError)
    monkeypatch.setitem(sys.modules, "ray", stand_in)
    assert run_on_cluster(lambda part, factor: part * factor, [(p, 2) for p in shards(2)], gpus=0.5) == [
        "1/21/2",
        "2/22/2",
    ]
    assert (asked["address"], asked["num_gpus"]) == ("auto", 0.5)

    def lost(_: object) -> None:
        raise TaskError("a traceback\nof many lines")

    with pytest.raises(ValueError, match=r"^the folder holds results of another model$"):
        run_on_cluster(lost, [("a",)], gpus=0.0)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r'a run on a cluster needs ray: pip install "anyview\[cluster\]"'):
        run_on_cluster(len, [("a",)], gpus=0.0)


@pytest.fixture
def cluster() -> Iterator[None]:
    """Two workers on this machine, gone afterwards."""
    ray = pytest.importorskip("ray")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own start
        ray.init(num_cpus=2, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        yield
        ray.shutdown()


@pytest.mark.usefixtures("cluster")
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_gives_the_same_as_one_process(tmp_path):
    for index in range(2):
        fake_sets.write_scene_json(tmp_path / "rooms" / f"{index}")
        (tmp_path / "rooms" / f"{index}" / "room").rename(tmp_path / "rooms" / f"room{index}")
    data = [f"scene_json:{tmp_path / 'rooms'}"]
    one = run_bench("pose", data, "constant", tmp_path / "one", BenchOptions())
    many = run_bench(
        "pose", data, "constant", tmp_path / "many", BenchOptions(), device="cpu", parallel=2, cluster=True
    )
    assert [outcome.scene for outcome in many] == ["room0", "room1"]
    assert [outcome.metrics for outcome in many] == [outcome.metrics for outcome in one]
    assert len(list((tmp_path / "many").glob("model_results/scene_json/*/unposed/exports/mini_npz/results.npz"))) == 2
    with pytest.raises(ValueError, match="holds results with name constant, and this run has nearest-view"):
        run_bench("view_syn", data, "nearest-view", tmp_path / "many", BenchOptions(), device="cpu", cluster=True)
