"""Runs: they go on to the bit after any kind of end, refuse what would lose work, and say what went wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rooms import Rooms, tiny
from safetensors.torch import load_file, save_file

from anyview.images.preprocess import normalize
from anyview.model.checkpoint import load
from anyview.model.config import PRESETS
from anyview.model.network import build, initialize
from anyview.training.config import Stage
from anyview.training.recipes import RECIPES
from anyview.training.samples import draw_sample
from anyview.training.step import Reader, compare, weigh
from anyview.training.targets import make_targets
from anyview.training.trainer import NotFiniteError, batches_ahead, train
from anyview.training.validation import Answer
from anyview.types import TrueViews


def final_state(folder: Path, step: int = 4) -> dict[str, torch.Tensor]:
    return load_file(folder / "checkpoints" / f"{step:08d}.safetensors")


def assert_same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def entries(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


class Signalling(Rooms):
    """Rooms during whose n-th batch a signal comes."""

    def __init__(self, number: signal.Signals, at_batch: int) -> None:
        super().__init__()
        self.number, self.batches_left = number, at_batch

    def batch(self, indices: Sequence[int], views: int, height: int, width: int, spread: float) -> TrueViews:
        self.batches_left -= 1
        if self.batches_left == 0:
            os.kill(os.getpid(), self.number)
        return super().batch(indices, views, height, width, spread)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of four steps in one go."""
    folder = tmp_path_factory.mktemp("straight")
    assert train(tiny(), Rooms(), folder, device="cpu") == "finished"
    return folder


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_two_steps_and_two_more_are_four_to_the_bit(straight, tmp_path, number):
    before = signal.getsignal(number)
    assert train(tiny(), Signalling(number, 2), tmp_path, device="cpu") == "interrupted"
    assert signal.getsignal(number) == before
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["00000002.safetensors"]
    assert not (tmp_path / "model.safetensors").exists()
    source = Rooms()
    assert train(tiny(), source, tmp_path, resume=True, device="cpu") == "finished"
    assert source.seen == [index for step in (2, 3) for index in draw_sample(tiny(), step).indices]
    assert_same(final_state(tmp_path), final_state(straight))
    assert (tmp_path / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()
    losses = [[entry["loss"] for entry in entries(folder)] for folder in (tmp_path, straight)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 4


def test_muon_goes_on_to_the_bit_too(tmp_path):
    options = tiny(matrices="muon", mirror=0.5, head_precision="bfloat16")
    train(options, Rooms(), tmp_path / "straight", device="cpu")
    assert train(options, Signalling(signal.SIGTERM, 2), tmp_path / "parts", device="cpu") == "interrupted"
    train(options, Rooms(), tmp_path / "parts", resume=True, device="cpu")
    state = final_state(tmp_path / "straight")
    assert_same(final_state(tmp_path / "parts"), state)
    assert "momentum.backbone.blocks.0.mlp.expand.weight" in state
    assert "first_moment.backbone.blocks.0.mlp.expand.weight" not in state


def test_steps_without_maps_go_on_to_the_bit_too(tmp_path):
    stage = Stage(sizes=((56, 56),), views=(2, 2), spread=(0.5, 0.5), told_matches=0.5, dense_every=3)
    options = tiny(stages=(stage,), match_weight=1.0, hint_weight=1.0, matrices="muon")
    train(options, Rooms(), tmp_path / "straight", device="cpu")
    assert train(options, Signalling(signal.SIGTERM, 2), tmp_path / "parts", device="cpu") == "interrupted"
    train(options, Rooms(), tmp_path / "parts", resume=True, device="cpu")
    state = final_state(tmp_path / "straight")
    assert_same(final_state(tmp_path / "parts"), state)
    # Steps 0 and 3 of 4 have maps.
    assert state["steps.head.depth_reader.output.bias"] == 2
    assert state["steps.camera_decoder.first.bias"] == 4
    assert ["depth" in entry for entry in entries(tmp_path / "straight")] == [True, False, False, True]
    assert all("camera" in entry for entry in entries(tmp_path / "straight"))


def test_half_precision_heads_agree_with_whole_ones():
    network = build(tiny().network, "cpu")
    initialize(network, 0)
    truth = Rooms().batch((0,), 2, 56, 56, 0.5)
    known = torch.zeros(1, dtype=torch.bool)
    whole, half = (
        Reader(network, dtype)(normalize(truth.images), truth.cameras, known)
        for dtype in (torch.float32, torch.bfloat16)
    )
    for exact, rounded in zip(whole[:5], half[:5], strict=True):
        assert rounded.dtype == torch.float32
        assert not torch.equal(exact, rounded) or exact.shape[-1] == 9  # cameras do not pass the head
        torch.testing.assert_close(rounded, exact, rtol=0.05, atol=0.05)  # 8 bits of mantissa


def test_the_loss_curve_is_the_known_one(tmp_path):
    """Whoever changes what is learned changes these numbers, and says so."""
    train(tiny(steps=8, warm_up_steps=2), Rooms(), tmp_path, device="cpu")
    known = [15.7846, 11.0832, 11.9185, 8.4500, 9.3270, 6.5927, 6.0172, 5.4117]
    assert [entry["loss"] for entry in entries(tmp_path)] == pytest.approx(known, rel=1e-3)


def test_what_is_written_is_the_average_of_the_weights(straight, assert_close):
    network, name = load(straight / "model.safetensors")
    assert name == "tiny"
    state = final_state(straight)
    for key, value in network.state_dict().items():
        assert torch.equal(value, state[f"averaged.{key}"])
    assert any(not torch.equal(state[f"averaged.{key}"], state[f"network.{key}"]) for key in network.state_dict())


def test_a_killed_run_loses_one_interval_and_breaks_nothing(straight, tmp_path):
    script = (
        "import sys; sys.path[:0] = sys.argv[2:]\n"
        "import torch; torch.set_num_threads(1)\n"
        "from rooms import Rooms, tiny\n"
        "from anyview.training.trainer import train\n"
        "train(tiny(steps=100_000, checkpoint_every=1), Rooms(), sys.argv[1], device='cpu')\n"
    )
    folder = tmp_path / "run"
    process = subprocess.Popen([sys.executable, "-c", script, str(folder), *sys.path], stderr=subprocess.PIPE)
    try:
        while len(list((folder / "checkpoints").glob("0*.safetensors"))) < 3 and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.kill()
        errors = process.communicate()[1].decode()
    assert process.returncode == -signal.SIGKILL, errors
    options = tiny(steps=100_000, checkpoint_every=1)
    steps = sorted(int(path.stem) for path in (folder / "checkpoints").glob("0*.safetensors"))
    logged = [entry["step"] for entry in entries(folder)] if (folder / "log.jsonl").read_text().endswith("\n") else []
    assert not logged or logged[-1] <= steps[-1] + 1
    # What the kill may have left half-written, made certain.
    (folder / "checkpoints" / ".00000099-abc").mkdir()
    (folder / "checkpoints" / ".00000099-abc" / "00000099.safetensors").write_bytes(b"half")
    with (folder / "log.jsonl").open("a") as log:
        log.write('{"step": 99, "lo')
    source = Signalling(signal.SIGTERM, 1)
    assert train(options, source, folder, resume=True, device="cpu") == "interrupted"
    assert source.seen == list(draw_sample(options, steps[-1]).indices)
    assert [entry["step"] for entry in entries(folder)] == list(range(1, steps[-1] + 2))
    assert not list((folder / "checkpoints").glob(".*"))


def test_only_the_last_checkpoints_are_kept(tmp_path):
    train(tiny(checkpoint_every=1, keep_checkpoints=2), Rooms(), tmp_path, device="cpu")
    assert sorted(path.stem for path in (tmp_path / "checkpoints").iterdir()) == ["00000003", "00000004"]


def test_batches_made_ahead_change_nothing(straight, tmp_path):
    train(tiny(ahead=2), Rooms(), tmp_path, device="cpu")
    assert_same(final_state(tmp_path), final_state(straight))


def test_an_error_of_the_source_ends_the_run():
    samples = [draw_sample(tiny(), step) for step in range(9)]

    def load_one(sample):
        if sample.step == 3:
            raise ValueError("depth/0003.png is broken")
        return sample

    batches = batches_ahead(load_one, samples, 2)
    assert [next(batches) for _ in range(3)] == [(sample, sample) for sample in samples[:3]]
    with pytest.raises(ValueError, match=r"depth/0003.png is broken"):
        next(batches)


def test_computing_again_saves_memory_and_changes_nothing(straight, tmp_path):
    train(tiny(recompute=True), Rooms(), tmp_path, device="cpu")
    assert_same(final_state(tmp_path), final_state(straight))


def test_a_run_is_not_resumed_with_other_data(tmp_path):
    options = tiny(steps=1)
    train(options, Rooms(), tmp_path, data="folder:a", device="cpu")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"the data is folder:b, was folder:a: .*remove .*data\.txt"):
        train(options, Rooms(), tmp_path, data="folder:b", resume=True, device="cpu")
    assert not (tmp_path / "model.safetensors").exists()
    assert train(options, Rooms(), tmp_path, data="folder:a", resume=True, device="cpu") == "finished"
    (tmp_path / "data.txt").unlink()  # as runs of before have none
    assert train(options, Rooms(), tmp_path, data="folder:b", resume=True, device="cpu") == "finished"
    assert (tmp_path / "data.txt").read_text() == "folder:b\n"


def test_scenes_of_too_few_views_are_refused_before_anything_is_written(tmp_path):
    few = Rooms()
    few.most_views = 1
    with pytest.raises(ValueError, match=r"^training: no scene has 2 frames; the most that one has is 1$"):
        train(tiny(), few, tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match=r"^validation: no scene has 2 frames; the most that one has is 1$"):
        train(tiny(), Rooms(), tmp_path / "run", validation=few, device="cpu")
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_not_finite_names_its_scene(tmp_path):
    options = tiny(steps=10, checkpoint_every=2)
    sick = draw_sample(options, 4).indices[1]

    class Sick(Rooms):
        def batch(self, indices, views, height, width, spread):
            truth = super().batch(indices, views, height, width, spread)
            truth.depth[[index == sick for index in indices]] = 0
            return truth

    with pytest.raises(NotFiniteError, match=rf"the loss of scene {sick} is not finite \(step 4, 2 views of 56x56"):
        train(options, Sick(), tmp_path, device="cpu")
    state = final_state(tmp_path, 4)
    assert all(tensor.isfinite().all() for tensor in state.values())
    assert not (tmp_path / "checkpoints" / "00000006.safetensors").exists()


def test_a_gradient_that_is_not_finite_stops_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, clip: torch.tensor(torch.nan))
    with pytest.raises(NotFiniteError, match=r"the gradient is not finite \(step 0"):
        train(tiny(), Rooms(), tmp_path, device="cpu")


def test_runs_are_not_written_over(straight, tmp_path):
    with pytest.raises(ValueError, match=r"holds a finished run \(step 4\); pass resume to go on, or overwrite"):
        train(tiny(), Rooms(), straight, device="cpu")
    before = (straight / "model.safetensors").stat().st_mtime_ns
    assert train(tiny(), Rooms(), straight, resume=True, device="cpu") == "finished"
    assert (straight / "model.safetensors").stat().st_mtime_ns == before
    train(tiny(), Signalling(signal.SIGTERM, 1), tmp_path, device="cpu")
    with pytest.raises(ValueError, match=r"holds a run \(step 1\); pass resume"):
        train(tiny(), Rooms(), tmp_path, device="cpu")
    (tmp_path / "mine.txt").write_text("keep me")
    assert train(tiny(seed=5), Rooms(), tmp_path, overwrite=True, device="cpu") == "finished"
    assert [entry["step"] for entry in entries(tmp_path)] == [1, 2, 3, 4]
    assert (tmp_path / "mine.txt").exists()


def test_another_recipe_does_not_go_on(straight):
    with pytest.raises(ValueError, match=r"another recipe and cannot be resumed: peak_rate is 0.5, was 0.002"):
        train(tiny(peak_rate=0.5), Rooms(), straight, resume=True, device="cpu")
    with pytest.raises(ValueError, match="another recipe and cannot be resumed: network is"):
        train(tiny(network=PRESETS["da3-nano"].config), Rooms(), straight, resume=True, device="cpu")


def test_other_refusals_leave_nothing_behind(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="is a file; expected a folder"):
        train(tiny(), Rooms(), tmp_path / "file", device="cpu")
    with pytest.raises(ValueError, match="expected resume or overwrite, got both"):
        train(tiny(), Rooms(), tmp_path / "run", resume=True, overwrite=True, device="cpu")
    with pytest.raises(ValueError, match="cannot fit into tokens_per_step = 20"):
        train(tiny(tokens_per_step=20), Rooms(), tmp_path / "run", device="cpu")
    with pytest.raises(ValueError, match="device 'abacus' cannot be used here"):
        train(tiny(), Rooms(), tmp_path / "run", device="abacus")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"half a file", None])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "checkpoints" / "00000002.safetensors"
    path.parent.mkdir()
    save_file({"x": torch.ones(1)}, path) if content is None else path.write_bytes(content)
    with pytest.raises(ValueError, match=r"00000002.safetensors is not a (readable )?checkpoint"):
        train(tiny(), Rooms(), tmp_path, resume=True, device="cpu")


def test_resuming_where_nothing_is_begins(straight, tmp_path):
    assert train(tiny(), Rooms(), tmp_path / "new", resume=True, device="cpu") == "finished"
    assert_same(final_state(tmp_path / "new"), final_state(straight))


def test_validation_scores_and_draws(tmp_path):
    lines: list[str] = []
    options = tiny(validate_every=2, validation_scenes=2, validation_views=(1, 3), log_every=2)

    def score(answer: Answer, truth: TrueViews) -> dict[str, float]:
        assert answer.depth.shape == truth.depth.shape == (len(truth.images), 56, 56)
        assert len(answer.head_cameras) == len(answer.ray_cameras) == len(truth.images)
        return {"views": len(truth.images)} if len(truth.images) > 1 else {}

    source = Rooms()
    train(options, Rooms(), tmp_path, validation=source, evaluators=[score], device="cpu", say=lines.append)
    assert source.seen == 2 * [0, 1, 0, 1]
    validated = [entry for entry in entries(tmp_path) if "3views/views" in entry]
    assert [entry["step"] for entry in validated] == [2, 4]
    assert all(entry["3views/views"] == 3 and "1views/views" not in entry for entry in validated)
    assert all(np.isfinite(entry["1views/loss"]) for entry in validated)
    picture = np.asarray(Image.open(tmp_path / "validation" / "00000002_3views.png"))
    assert picture.shape == (3 * 56, 4 * 56, 3)
    truth = Rooms().batch((0,), 3, 56, 56, options.validation_spread)
    assert np.array_equal(picture[:, :56], truth.images[0].flatten(0, 1).numpy())
    assert len(lines) == 2
    assert lines[-1].startswith("step 4/4  loss ")
    assert lines[-1].endswith("0:00:00 left")


def test_numbers_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    options = tiny(tensorboard=True, validate_every=4)
    train(options, Rooms(), tmp_path, validation=Rooms(), device="cpu")
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss")]
    assert losses == pytest.approx([entry["loss"] for entry in entries(tmp_path) if "loss" in entry])
    assert events.Images("2views")


def test_without_tensorboard_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r'pip install "anyview\[train\]"'):
        train(tiny(tensorboard=True), Rooms(), tmp_path, device="cpu")


def test_gradients_reach_every_parameter():
    network = build(RECIPES["nano"].network, "cpu")
    initialize(network)
    truth = Rooms().batch((1, 2), 3, 42, 56, 0.5)
    reading = Reader(network)(normalize(truth.images), truth.cameras, torch.tensor([True, False]))
    weigh(compare(reading, make_targets(truth), 0.2), tiny()).sum().backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.any()] == []
    assert all(gradient.isfinite().all() for gradient in gradients.values())


def test_training_reads_what_prediction_reads(assert_close):
    network = build(PRESETS["da3-nano"].config, "cpu")
    initialize(network)
    truth = Rooms().batch((1, 2), 3, 42, 56, 0.5)
    images = normalize(truth.images)
    with torch.no_grad():
        reading = Reader(network)(images, truth.cameras, torch.tensor([False, False]))
        output = network(images, reference_view="first", rays=True)
    assert torch.equal(reading.depth, output.depth)
    assert torch.equal(reading.rays, output.rays)
    assert torch.equal(reading.ray_confidence, output.ray_confidence)


def test_known_cameras_are_told_scene_by_scene():
    network = build(PRESETS["da3-nano"].config, "cpu")
    initialize(network)
    truth = Rooms().batch((1, 2), 2, 42, 56, 0.5)
    reader, images = Reader(network), normalize(truth.images)
    with torch.no_grad():
        none, first, both = (
            reader(images, truth.cameras, torch.tensor(known)).depth
            for known in ([False, False], [True, False], [True, True])
        )
    assert torch.equal(first[0], both[0])
    assert torch.equal(first[1], none[1])
    assert not torch.equal(first[0], none[0])


@pytest.mark.compiled
@pytest.mark.filterwarnings("ignore")  # the compiler warns of its own doings
def test_compiled_blocks_learn_the_same(tmp_path):
    losses = []
    for compiles in (False, True):
        train(tiny(steps=2, compile=compiles), Rooms(), tmp_path / str(compiles), device="cpu")
        losses.append([entry["loss"] for entry in entries(tmp_path / str(compiles))])
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
