from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-2}
"""Largest difference in parts of the expected values' root mean square."""


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # several workers share the cores
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect what this session cannot run: `gpu` without CUDA, `compiled` under shape checks."""
    impossible = set()
    if not torch.cuda.is_available():
        impossible.add("gpu")
    if config.getoption("jaxtyping_packages"):
        impossible.add("compiled")
    deselected = [item for item in items if any(item.get_closest_marker(name) for name in impossible)]
    if deselected:
        config.hook.pytest_deselected(items=deselected)
        items[:] = [item for item in items if item not in deselected]


@pytest.fixture(scope="session")
def golden() -> Path:
    """The reference outputs."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real pictures, which lie beside the repository where there are any (marker `real`)."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real pictures at {folder}")
    return folder


@pytest.fixture(scope="session")
def assert_close() -> Callable[..., None]:
    """Compare numbers: `check_close`."""
    return check_close


def check_close(
    actual: Tensor | np.ndarray | float,
    expected: Tensor | np.ndarray | float,
    tolerance: float | None = None,
    *,
    reason: str = "",
) -> None:
    """Assert equal shapes, finite values, and differences below ``tolerance`` in parts of the expected RMS.

    Without ``tolerance`` the coarser of the two dtypes decides, by `TOLERANCE`; whole numbers and truth values must be
    equal. An own tolerance needs a ``reason``. Where everything expected is 0 the difference counts as it is.
    """
    actual, expected = (
        value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.asarray(value))
        for value in (actual, expected)
    )
    assert actual.shape == expected.shape, f"shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if tolerance is None:
        tolerance = max(TOLERANCE.get(tensor.dtype, 0.0) for tensor in (actual, expected))
    elif not reason:
        raise TypeError("a tolerance of your own needs a reason")
    if actual.numel() == 0:
        return
    actual, expected = actual.double(), expected.double()
    assert expected.isfinite().all(), "the expected values are not finite"
    broken = int((~actual.isfinite()).sum())
    assert not broken, f"{broken} of {actual.numel()} values are not finite"
    difference = (actual - expected).abs()
    rms = expected.square().mean().sqrt().item() or 1.0
    worst = np.unravel_index(int(difference.argmax()), difference.shape)
    assert difference.max() <= tolerance * rms, (
        f"max difference {difference.max() / rms:.3g} of the RMS {rms:.3g}, mean {difference.mean() / rms:.3g}, "
        f"allowed {tolerance:.3g} {reason}; worst at {tuple(map(int, worst))}: "
        f"{actual[worst].item():.9g}, expected {expected[worst].item():.9g}"
    )
