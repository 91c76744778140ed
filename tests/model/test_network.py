"""What every network does, whatever its weights: shapes, invariances, and no more work than asked for."""

import copy
from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from anyview.model.backbone import resampling_matrix
from anyview.model.config import PRESETS, NestedConfig
from anyview.model.gaussians import degree_weights
from anyview.model.layers import rotary_table
from anyview.model.network import build
from anyview.model.pyramid import place_axis
from anyview.types import Cameras, NetworkOutput
from filled import SMALL_CONFIGS, filled, pictures

ANY_VIEW_NAMES = ["anyview", "gaussian", "nested"]
CASES = [*((name, False) for name in SMALL_CONFIGS), *((name, True) for name in ANY_VIEW_NAMES)]
"""Networks, and whether they are given cameras."""
NAMES = ("a", "b", "c", "d", "e")
HEIGHT, WIDTH = 42, 56


def run(name: str, images: torch.Tensor, cameras: Cameras | None = None, **options) -> NetworkOutput:
    with torch.inference_mode():
        return filled(name)(images, cameras, **options)


def everything(name: str) -> dict[str, bool]:
    """Options that ask a network for all that it can say."""
    if name in ("mono", "metric"):
        return {}
    return {"rays": True, "gaussians": name != "anyview"}


def tensors(output: NetworkOutput) -> dict[str, torch.Tensor]:
    """All that is per view."""
    maps = {
        "depth": output.depth,
        "confidence": output.confidence,
        "rays": output.rays,
        "ray_confidence": output.ray_confidence,
        "sky": output.sky,
    }
    if output.cameras is not None:
        maps |= {"poses": output.cameras.world_to_camera, "intrinsics": output.cameras.intrinsics}
    maps |= {f"features {block}": tokens for block, tokens in output.features.items()}
    return {key: value for key, value in maps.items() if value is not None}


def known_cameras(views: int, batch: int = 1) -> Cameras:
    poses = torch.eye(4).repeat(batch, views, 1, 1)
    poses[..., 0, 3] = torch.arange(views) / views
    poses[..., 1, 3] = torch.arange(views) ** 2 / views**2
    intrinsics = torch.tensor([[50.0, 0, WIDTH / 2], [0, 50, HEIGHT / 2], [0, 0, 1]]).repeat(batch, views, 1, 1)
    return Cameras(poses, intrinsics)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_on_meta(name):
    network = build(PRESETS[name].config)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert not list(network.buffers()), "buffers would have no values after loading"


@contextmanager
def no_values():
    """Compute shapes only: what waits for a value, `.item()` and its kin, raises. No table without values is kept."""
    tables = (rotary_table, resampling_matrix, place_axis, degree_weights)
    for table in tables:
        table.cache_clear()
    try:
        with FakeTensorMode():
            yield
    finally:
        for table in tables:
            table.cache_clear()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_say_what_they_should_about_shapes(name):
    config = PRESETS[name].config
    any_view = isinstance(config, NestedConfig) or config.is_any_view
    main = config.any_view if isinstance(config, NestedConfig) else config
    options = {"rays": True, "gaussians": main.gaussians is not None} if any_view else {}
    with no_values():
        output = build(config, "cpu")(torch.empty(1, 3, 3, HEIGHT, WIDTH), features=[0], **options)
    shapes = {key: tuple(value.shape) for key, value in tensors(output).items()}
    expected = {"depth": (1, 3, 42, 56), "features 0": (1, 3, 3, 4, main.backbone.width)}
    if any_view:
        expected |= {"confidence": (1, 3, 42, 56), "rays": (1, 3, 24, 32, 6), "ray_confidence": (1, 3, 24, 32)}
        expected |= {"poses": (1, 3, 4, 4), "intrinsics": (1, 3, 3, 3)}
    if not any_view or isinstance(config, NestedConfig):
        expected["sky"] = (1, 3, 42, 56)
    assert shapes == expected
    assert (output.gaussians is not None) == (main.gaussians is not None)
    if output.gaussians is not None:
        assert output.gaussians.harmonics.shape == (1, 3 * 42 * 56, 3, (main.gaussians.degree + 1) ** 2)


@pytest.mark.parametrize(("name", "posed"), CASES)
def test_nothing_waits_for_the_device(name, posed):
    strategies = ("saddle_balanced", "saddle_sim_range", "middle", "first") if name in ANY_VIEW_NAMES else ("first",)
    with no_values():
        network = build(SMALL_CONFIGS[name], "cpu")
        cameras = known_cameras(3) if posed else None
        for strategy in strategies:
            network(torch.empty(1, 3, 3, HEIGHT, WIDTH), cameras, reference_view=strategy, **everything(name))


def test_waiting_would_be_noticed():
    with no_values(), pytest.raises(DataDependentOutputException):
        torch.empty(1).item()


@pytest.mark.parametrize("name", SMALL_CONFIGS)
@pytest.mark.parametrize("views", [1, 2, 3, 4])
def test_outputs_are_finite(name, views):
    output = run(name, pictures(*NAMES[:views]), **everything(name))
    for key, value in tensors(output).items():
        assert value.shape[:2] == (1, views)
        assert value.isfinite().all(), key
    assert (output.depth > 0).all()
    if output.confidence is not None:
        assert (output.confidence >= 1).all()


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_what_is_not_asked_for_is_not_there(name):
    output = run(name, pictures("a"))
    assert output.rays is None
    assert output.ray_confidence is None
    assert output.gaussians is None
    assert dict(output.features) == {}


@pytest.mark.parametrize("name", SMALL_CONFIGS)
def test_inputs_are_not_changed(name):
    images = pictures("a", "b")
    before = images.clone()
    run(name, images, **everything(name))
    assert torch.equal(images, before)


@pytest.mark.parametrize(("name", "posed"), CASES)
def test_a_batch_is_the_same_as_one_scene_at_a_time(name, posed, assert_close):
    scenes = [pictures("a", "b", "c"), pictures("d", "e", "f")]
    cameras = known_cameras(3, batch=2) if posed else None
    together = run(name, torch.cat(scenes), cameras, features=[2], **everything(name))
    for index, scene in enumerate(scenes):
        alone = run(name, scene, cameras[index : index + 1] if posed else None, features=[2], **everything(name))
        for key, value in tensors(alone).items():
            assert_close(tensors(together)[key][index : index + 1], value, 5e-5, reason="kernels differ by batch size")
        if alone.gaussians is not None:
            assert_close(
                together.gaussians.means[index], alone.gaussians.means[0], 5e-5, reason="kernels differ by batch size"
            )
        if alone.metric_scale is not None:
            assert_close(together.metric_scale[index], alone.metric_scale[0])


@pytest.mark.parametrize("name", ANY_VIEW_NAMES)
@pytest.mark.parametrize("strategy", ["first", "saddle_balanced", "saddle_sim_range"])
def test_order_of_views_changes_nothing_but_order(name, strategy, assert_close):
    """The first view stays first where it is the reference; the saddles choose whatever the order is."""
    names = [f"anyview_6views:b0:{view}" for view in range(6)]
    order = [0, 4, 2, 5, 1, 3] if strategy == "first" else [4, 0, 2, 5, 1, 3]
    expected = run(name, pictures(*names), reference_view=strategy, rays=True, features=[0, 2, 5])
    actual = run(
        name, pictures(*[names[view] for view in order]), reference_view=strategy, rays=True, features=[0, 2, 5]
    )
    for key, value in tensors(expected).items():
        assert_close(tensors(actual)[key], value[:, order], 3e-5, reason="sums over views in another order, then exp")


def test_order_changes_nothing_if_the_middle_view_stays(assert_close):
    order = [4, 1, 2, 0, 3]
    expected = run("anyview", pictures(*NAMES), reference_view="middle", rays=True)
    actual = run("anyview", pictures(*[NAMES[view] for view in order]), reference_view="middle", rays=True)
    for key, value in tensors(expected).items():
        assert_close(tensors(actual)[key], value[:, order], 3e-5, reason="sums over views in another order, then exp")


def test_the_reference_view_matters():
    images = pictures(*NAMES)
    first, middle = (run("anyview", images, reference_view=view).depth for view in ("first", "middle"))
    assert (first - middle).abs().max() > 1e-3


def test_known_cameras_matter():
    images = pictures(*NAMES)
    assert (run("anyview", images).depth - run("anyview", images, known_cameras(5)).depth).abs().max() > 1e-3


def test_other_views_matter_to_any_view_networks_alone():
    def first_depth(name: str, other: str) -> torch.Tensor:
        return run(name, pictures("a", other)).depth[:, 0]

    assert (first_depth("anyview", "b") - first_depth("anyview", "c")).abs().max() > 1e-3
    assert torch.equal(first_depth("mono", "b"), first_depth("mono", "c"))


@contextmanager
def calls(*modules: nn.Module):
    """Count how often modules run."""
    counted = []
    handles = [module.register_forward_hook(lambda *_: counted.append(1)) for module in modules]
    try:
        yield counted
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize("name", ["anyview", "gaussian"])
def test_skipping_rays_gives_bit_equal_depth(name):
    network, images = filled(name), pictures(*NAMES)
    with calls(network.head.ray_fusion, network.head.ray_neck, network.head.ray_reader) as counted:
        without = run(name, images)
    assert counted == []
    with_rays = run(name, images, rays=True)
    solved = run(name, images, camera_source="rays")
    for other in (with_rays, solved):
        assert torch.equal(without.depth, other.depth)
        assert torch.equal(without.confidence, other.confidence)
    assert torch.equal(without.cameras.world_to_camera, with_rays.cameras.world_to_camera)
    assert solved.rays is None


def test_only_what_is_asked_for_is_computed():
    network = filled("gaussian")
    with calls(network.gaussian_head, network.camera_encoder) as counted:
        run("gaussian", pictures("a"))
    assert counted == []
    with calls(network.camera_decoder) as counted:
        run("gaussian", pictures("a"), camera_source="rays")
    assert counted == []


def test_cameras_solved_from_rays_are_repeatable():
    one, two = (run("anyview", pictures(*NAMES), camera_source="rays").cameras for _ in range(2))
    assert torch.equal(one.world_to_camera, two.world_to_camera)
    assert torch.equal(one.intrinsics, two.intrinsics)
    assert (one.world_to_camera - run("anyview", pictures(*NAMES)).cameras.world_to_camera).abs().max() > 1e-3


@pytest.mark.parametrize("frames_at_once", [1, 2])
@pytest.mark.parametrize("name", ["gaussian", "mono"])
def test_chunks_of_the_heads_change_nothing(name, frames_at_once, assert_close):
    network = copy.deepcopy(filled(name))
    images = pictures(*NAMES)
    with torch.inference_mode():
        expected = network(images, **everything(name))
        network.frames_at_once = frames_at_once
        actual = network(images, **everything(name))
    for key, value in tensors(expected).items():
        assert_close(tensors(actual)[key], value, 3e-5, reason="kernels differ by batch size")
    if expected.gaussians is not None:
        assert_close(actual.gaussians.means, expected.gaussians.means, 3e-5, reason="kernels differ by batch size")


@pytest.mark.parametrize("name", ["gaussian", "mono"])
def test_memory_layout_changes_nothing(name, assert_close):
    network = copy.deepcopy(filled(name))
    pyramids = [module for module in network.modules() if hasattr(module, "channels_last")]
    assert len(pyramids) == (2 if name == "gaussian" else 1)
    images = pictures(*NAMES)
    with torch.inference_mode():
        expected = network(images, **everything(name))
        for pyramid in pyramids:
            pyramid.channels_last = False
        actual = network(images, **everything(name))
    for key, value in tensors(expected).items():
        assert_close(tensors(actual)[key], value, 3e-5, reason="kernels differ by layout")


def test_half_precision_stays_in_the_backbone(assert_close):
    network = copy.deepcopy(filled("anyview"))
    network.backbone_dtype = torch.bfloat16
    seen = []
    handle = network.backbone.blocks[5].attention.qkv.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    images = pictures(*NAMES)
    with torch.inference_mode():
        output = network(images, rays=True, features=[5])
    handle.remove()
    assert seen == [torch.bfloat16]
    for value in tensors(output).values():
        assert value.dtype == torch.float32
    expected = run("anyview", images)
    difference = (output.depth.log() - expected.depth.log()).abs().mean()
    assert 0 < difference < 0.1


def test_each_scene_has_its_own_metric_scale(assert_close):
    near, far = pictures("a", "b"), pictures("c", "d")
    together = run("nested", torch.cat([near, far]))
    assert together.metric_scale.shape == (2,)
    assert_close(together.metric_scale[1], run("nested", far).metric_scale[0])
    assert together.metric_scale[0] != together.metric_scale[1]


def test_metres_follow_known_intrinsics(assert_close):
    images = pictures("a", "b")
    predicted = run("nested", images)
    doubled = predicted.cameras.intrinsics * torch.tensor([[2.0, 1, 1], [1, 2, 1], [1, 1, 1]])
    known = run("nested", images, intrinsics=doubled)
    assert_close(known.metric_scale, 2 * predicted.metric_scale)
    assert torch.equal(known.cameras.intrinsics, predicted.cameras.intrinsics)


def test_nested_networks_scale_everything_alike(assert_close):
    images = pictures("a", "b", "c")
    nested = run("nested", images, rays=True, gaussians=True)
    with torch.inference_mode():
        plain = filled("nested").any_view(images, rays=True, gaussians=True)
    scale = nested.metric_scale.item()
    ground = nested.sky < 0.3
    assert 0 < ground.sum() < ground.numel()
    assert_close(nested.depth[ground], scale * plain.depth[ground])
    assert_close(nested.confidence[ground], plain.confidence[ground])
    assert (nested.confidence[~ground] == 1).all()
    assert_close(nested.cameras.world_to_camera[..., :3, 3], scale * plain.cameras.world_to_camera[..., :3, 3])
    assert_close(nested.cameras.world_to_camera[..., :3, :3], plain.cameras.world_to_camera[..., :3, :3])
    assert_close(nested.rays[..., 3:], scale * plain.rays[..., 3:])
    assert_close(nested.rays[..., :3], plain.rays[..., :3])
    assert_close(nested.gaussians.means, scale * plain.gaussians.means)
    assert_close(nested.gaussians.scales, scale * plain.gaussians.scales)
    assert_close(nested.gaussians.quaternions_wxyz, plain.gaussians.quaternions_wxyz)


@pytest.mark.compiled
@pytest.mark.parametrize("name", ["anyview", "mono"])
def test_compiled_networks_say_the_same(name, assert_close):
    network = copy.deepcopy(filled(name))
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    images = pictures("a", "b", "c")
    with torch.inference_mode():
        expected, actual = network(images, **everything(name)), compiled(images, **everything(name))
    for key, value in tensors(expected).items():
        assert_close(
            tensors(actual)[key], value, 5e-5, reason="fused operations round otherwise, and outputs are exponentials"
        )
