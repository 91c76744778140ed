"""Photos in, a coloured point cloud with cameras out.

    python examples/01_predict.py MODEL FOLDER_OF_PHOTOS

Without arguments: generated pictures and random weights, to see the calls run.
"""

import sys

from anyview import DepthAnything3, PredictOptions, export
from anyview.synth.dataset import scene_at
from anyview.synth.options import SynthOptions

if len(sys.argv) == 3:
    model, images = DepthAnything3.from_pretrained(sys.argv[1]), sys.argv[2]
else:
    room = scene_at(SynthOptions(kinds=("room",), views=3, height=168, width=224), "test", 0)
    model, images = DepthAnything3.with_random_weights("da3-nano"), room.images

prediction = model.predict(images, options=PredictOptions(resolution=224))
print(f"depth {tuple(prediction.depth.shape)} in {prediction.units} units")
print(f"camera of the first view:\n{prediction.cameras.intrinsics[0]}\n{prediction.cameras.world_to_camera[0]}")
for name, reason in prediction.lacks.items():
    print(f"no {name}: {reason}")
for paths in export(prediction, "out/example", ["glb", "npz"]).values():
    print(*paths)
