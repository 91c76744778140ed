import torch

from anyview.synth.augment import blur, compress, noise, photograph
from anyview.synth.hashing import uniform


def pictures(views: int = 3, height: int = 37, width: int = 50) -> torch.Tensor:
    y, x = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    ramp = torch.stack([y[:, None].expand(-1, width), x.expand(height, -1), 0.5 * (y[:, None] + x)], -1)
    return (0.1 + 0.8 * ramp).expand(2, views, -1, -1, -1)


def test_photographs_differ_from_view_to_view_and_can_be_repeated():
    seeds = torch.tensor([5, 6], dtype=torch.int32)
    taken = photograph(pictures(), seeds)
    assert taken.shape == (2, 3, 37, 50, 3)
    assert taken.min() >= 0
    assert taken.max() <= 1
    assert (taken[:, 0] - taken[:, 1]).abs().mean() > 0.005
    assert (taken[0] - taken[1]).abs().mean() > 0.005
    assert torch.equal(taken, photograph(pictures(), seeds))
    torch.testing.assert_close(taken[1:], photograph(pictures()[1:], seeds[1:]))


def test_blur_keeps_the_sum_and_spreads_a_dot():
    dot = torch.zeros(2, 9, 9, 3)
    dot[:, 4, 4] = 1
    sharp, soft = blur(dot, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(sharp, dot[0])
    torch.testing.assert_close(soft.sum((0, 1)), torch.ones(3))
    weights = torch.exp(-0.5 * torch.arange(3.0) ** 2)
    weights = weights / (weights[0] + 2 * weights[1:].sum())
    torch.testing.assert_close(soft[4, 4:7, 0], weights[0] * weights)


def test_noise_is_nearly_normal():
    values = noise(torch.Size([2, 3, 40, 50, 3]), torch.tensor([1, 2], dtype=torch.int32))
    assert abs(values.mean()) < 0.02
    assert abs(values.std() - 1) < 0.02
    assert abs((values[0] * values[1]).mean()) < 0.03


def test_compression_loses_more_at_low_quality():
    rough = uniform(torch.arange(37 * 50, dtype=torch.int32), 3).view(1, 37, 50, 3).expand(3, -1, -1, -1)
    error = (compress(rough, torch.tensor([100.0, 80.0, 30.0])) - rough).square().mean((1, 2, 3)).sqrt()
    assert error[0] < 0.005
    assert 0.01 < error[1] < error[2] < 0.3


def test_compression_is_that_of_opencv():
    import cv2

    picture = (pictures()[0, 0] * 255).round().byte()
    rough = uniform(torch.arange(37 * 50, dtype=torch.int32), 3).view(37, 50, 3)
    picture = (picture + 40 * rough).clamp(0, 255).byte()
    flags = [cv2.IMWRITE_JPEG_QUALITY, 60, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    _, coded = cv2.imencode(".jpg", picture.flip(-1).numpy(), flags)
    theirs = torch.from_numpy(cv2.imdecode(coded, cv2.IMREAD_COLOR)).flip(-1).float() / 255
    ours = compress(picture[None].float() / 255, torch.tensor([60.0]))[0]
    assert (ours - theirs).abs().mean() < 0.25 * (theirs - picture / 255).abs().mean()
