"""Every parameter can learn, and no gradient is NaN."""

import copy

import pytest
import torch
from torch import Tensor, nn

from anyview.geometry.pose import matrix_from_quaternion_xyzw, rigid_transform
from anyview.model.config import PRESETS
from anyview.model.layers import rotary_table
from anyview.model.network import build, initialize
from anyview.types import Cameras, NetworkOutput
from filled import filled, pictures

VIEWS = ("a", "b", "c")


def trainable(name: str) -> nn.Module:
    return copy.deepcopy(filled(name)).train()


def random_poses(views: int) -> Cameras:
    generator = torch.Generator().manual_seed(4)
    rotations = matrix_from_quaternion_xyzw(torch.randn(1, views, 4, generator=generator))
    poses = rigid_transform(rotations, torch.randn(1, views, 3, generator=generator))
    intrinsics = torch.tensor([[50.0, 0, 28], [0, 48, 21], [0, 0, 1]]).expand(1, views, 3, 3)
    return Cameras(poses, intrinsics)


def mixed(output: NetworkOutput) -> Tensor:
    """A sum of what a network says, all but the harmonics, with random weights so that nothing cancels."""
    values = [output.depth, output.confidence, output.rays, output.ray_confidence, output.sky]
    if output.cameras is not None:
        values += [output.cameras.world_to_camera, output.cameras.intrinsics]
    if output.gaussians is not None:
        gaussians = output.gaussians
        values += [gaussians.means, gaussians.scales, gaussians.quaternions_wxyz, gaussians.opacities]
    generator = torch.Generator().manual_seed(5)
    sums = [(value * torch.randn(value.shape, generator=generator)).mean() for value in values if value is not None]
    return torch.stack(sums).sum()


def assert_all_learn(network: nn.Module) -> None:
    silent = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    assert silent == []
    broken = [name for name, parameter in network.named_parameters() if not parameter.grad.isfinite().all()]
    assert broken == []
    zero = [name for name, parameter in network.named_parameters() if not parameter.grad.any()]
    assert zero == []


@pytest.mark.parametrize("name", ["anyview", "gaussian"])
def test_every_parameter_of_an_any_view_network_gets_a_gradient(name):
    network, images = trainable(name), pictures(*VIEWS)
    gaussians = name == "gaussian"
    without_poses = network(images, rays=True, gaussians=gaussians)
    with_poses = network(images, random_poses(len(VIEWS)), rays=True, gaussians=gaussians)
    (mixed(without_poses) + mixed(with_poses)).backward()
    assert_all_learn(network)


def test_every_parameter_of_a_monocular_network_gets_a_gradient():
    network = trainable("mono")
    mixed(network(pictures(*VIEWS))).backward()
    assert_all_learn(network)


def test_every_parameter_of_a_nested_network_gets_a_gradient():
    network, images = trainable("nested"), pictures(*VIEWS)
    without_poses = network(images, rays=True, gaussians=True)
    with_poses = network(images, random_poses(len(VIEWS)), rays=True, gaussians=True)
    (mixed(without_poses) + mixed(with_poses)).backward()
    assert_all_learn(network)


def test_colours_of_gaussians_give_finite_gradients():
    network = trainable("gaussian")
    output = network(pictures(*VIEWS), gaussians=True)
    output.gaussians.harmonics.square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("name", ["mono", "nested"])
def test_pictures_of_nothing_but_sky_give_finite_gradients(name):
    network = trainable(name)
    metric = network.metric if name == "nested" else network
    metric.head.sky_reader.output.bias.data.fill_(10.0)
    output = network(pictures(*VIEWS))
    assert (output.sky > 0.3).all()
    mixed(output).backward()
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_random_initial_weights_give_finite_gradients():
    network = build(PRESETS["da3-nano"].config, "cpu")
    initialize(network)
    mixed(network(pictures(*VIEWS), rays=True, gaussians=network.gaussian_head is not None)).backward()
    gradients = {name: parameter.grad for name, parameter in network.named_parameters()}
    silent = [name for name, gradient in gradients.items() if gradient is None]
    assert all(name.startswith("camera_encoder.") for name in silent)
    assert all(gradient.isfinite().all() for gradient in gradients.values() if gradient is not None)


def test_random_initial_weights_depend_on_the_seed_alone():
    networks = [build(PRESETS["da3-nano"].config, "cpu") for _ in range(3)]
    for network, seed in zip(networks, (3, 3, 4), strict=True):
        torch.rand(7)
        initialize(network, seed)
    one, same, other = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["backbone.position_embedding"], other["backbone.position_embedding"])


def test_tables_made_while_predicting_serve_in_training():
    rotary_table.cache_clear()
    network, images = trainable("anyview"), pictures(*VIEWS, height=98, width=28)
    with torch.inference_mode():
        network(images, rays=True)
    mixed(network(images, rays=True)).backward()
    assert network.backbone.patch_embedding.weight.grad.isfinite().all()
