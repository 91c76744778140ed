"""Known cameras condition the network, and results come back in their frame and scale.

    python examples/02_known_cameras.py MODEL COLMAP_PROJECT

Without arguments: generated pictures, whose cameras are known exactly, and random weights.
"""

import sys

from anyview import DepthAnything3, PredictOptions
from anyview.images.sources import read_scene
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions

options = PredictOptions(resolution=224)
if len(sys.argv) == 3:
    model = DepthAnything3.from_pretrained(sys.argv[1])
    prediction = model.predict(read_scene(sys.argv[2]), options=options)
else:
    model = DepthAnything3.with_random_weights("da3-nano")
    room = scene_at(SynthOptions(kinds=("room",), views=4, height=168, width=224), "test", 0)
    prediction = model.predict(room.images, room.cameras, options=options)
    assert prediction.cameras.world_to_camera.equal(room.cameras.world_to_camera)
    error = (prediction.depth / room.depth)[room.depth > 0].log().abs().median().exp()
    print(f"depth is off by a factor of {error:.2f} in the median (the weights are random)")
print(f"{len(prediction)} views, depth in {prediction.units} units")
