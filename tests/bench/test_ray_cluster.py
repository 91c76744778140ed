"""A run on a real Ray cluster of one machine, where Ray is installed (extra ``cluster``)."""

import logging
import warnings

import fake_sets
import pytest

from anyview.bench.command import run_bench
from anyview.bench.options import BenchOptions

ray = pytest.importorskip("ray")


@pytest.fixture
def cluster(tmp_path):
    """Two workers on this machine, gone afterwards."""
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
