"""Every data set by name."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from anyview.bench.datasets import dtu, eth3d, generic, hiroom, scannetpp, seven_scenes, single_pictures, view_synthesis
from anyview.bench.datasets.scene import Reader
from anyview.bench.options import Task
from anyview.options import Protocol, nearest_names

Open = Callable[[Path, Protocol], Reader]

BENCHMARK: Mapping[str, Open] = {
    "hiroom": hiroom.HiRoom,
    "eth3d": eth3d.Eth3d,
    "dtu": dtu.Dtu,
    "dtu64": dtu.Dtu64,
    "7scenes": seven_scenes.SevenScenes,
    "scannetpp": scannetpp.ScanNetPlusPlus,
}
"""The published benchmark, each in a folder of its name."""
SINGLE: Mapping[str, Open] = {
    "kitti": single_pictures.kitti,
    "nyu": single_pictures.nyu,
    "sintel": single_pictures.sintel,
    "eth3d": partial(eth3d.Eth3d, single=True),
    "diode": single_pictures.diode,
    "sunrgbd": single_pictures.sunrgbd,
    "moge": single_pictures.moge,
}
"""With rules of their own for depth of single pictures."""
SYNTHESIS: Mapping[str, Open] = {
    "dl3dv": partial(view_synthesis.ViewSynthesis, "dl3dv", None),
    "tanks_and_temples": partial(view_synthesis.ViewSynthesis, "tanks_and_temples", view_synthesis.TANKS_SCENES),
    "megadepth": partial(view_synthesis.ViewSynthesis, "megadepth", view_synthesis.MEGADEPTH_SCENES),
    "colmap": partial(view_synthesis.ViewSynthesis, "colmap", None),
}
OWN: Mapping[str, Open] = {
    "synth": generic.Synthetic,
    "folder": partial(generic.Recordings, "folder"),
    "colmap": partial(generic.Recordings, "colmap"),
    "scene_json": generic.SceneJson,
}
DATASETS: tuple[str, ...] = tuple(dict.fromkeys([*BENCHMARK, *SINGLE, *SYNTHESIS, *OWN]))
ROOT_NAME = "da3-bench"


def open_benchmark(data: str, task: Task, protocol: Protocol) -> dict[str, Reader]:
    """Open ``NAME:PATH`` for a task; ``da3-bench:PATH`` is the folder that holds those of the published benchmark.

    Raises:
        ValueError: there is no such data set (the nearest are offered), it has no truth for the task, or what is at
            the path is not of its layout.
    """
    name, colon, place = data.partition(":")
    if not colon or not place:
        raise ValueError(f"expected data as NAME:PATH with a name of {', '.join((ROOT_NAME, *DATASETS))}; got {data!r}")
    path = Path(place).expanduser()
    if name == ROOT_NAME:
        return _open_root(path, task, protocol)
    if name not in DATASETS:
        raise ValueError(f"unknown data set {name!r}; {nearest_names(name, [ROOT_NAME, *DATASETS])}")
    own_place = name != "synth"
    if own_place and not path.is_dir():
        raise ValueError(f"{path} is no folder with the data set {name}")
    first = {"depth": SINGLE, "view_syn": SYNTHESIS}.get(task, BENCHMARK)
    maker = next(names[name] for names in (first, BENCHMARK, SINGLE, OWN, SYNTHESIS) if name in names)
    reader = maker(path, protocol)
    if task not in reader.tasks:
        raise ValueError(f"{name} has no truth for {task}; it has it for {', '.join(reader.tasks)}")
    return {name: reader}


def _open_root(root: Path, task: Task, protocol: Protocol) -> dict[str, Reader]:
    there = [name for name in BENCHMARK if (root / name).is_dir()]
    if not there:
        raise ValueError(f"{root} holds none of the folders {', '.join(BENCHMARK)}")
    readers = {name: BENCHMARK[name](root / name, protocol) for name in there}
    fitting = {name: reader for name, reader in readers.items() if task in reader.tasks}
    if not fitting:
        raise ValueError(f"{root} holds {', '.join(there)}, of which none has a truth for {task}")
    return fitting
