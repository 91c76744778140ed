import pytest

from anyview.model.config import PRESETS, Preset
from filled import SMALL_CONFIGS


@pytest.fixture
def small_presets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make presets of the small networks, so that published folders can hold them."""
    for name, config in SMALL_CONFIGS.items():
        preset = Preset(config=config, summary="for tests", parameters=0, licence="Apache-2.0", hub_id=None)
        monkeypatch.setitem(PRESETS, name, preset)
