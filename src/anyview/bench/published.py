"""The paper's numbers as data (benchmark part 4), in the units of our tables: fractions, metres, DTU millimetres."""

from collections.abc import Mapping
from dataclasses import dataclass

from anyview.bench.options import Task


@dataclass(frozen=True)
class PublishedRow:
    """One model's printed means at one task."""

    model: str
    source: str
    task: Task
    metrics: Mapping[str, Mapping[str, float]]
    """Data set -> metric -> mean."""


_REPOSITORY = "official repository"
_V1_POSES, _V1_GEOMETRY, _ICLR = "arXiv v1, Table 2", "arXiv v1, Table 3", "ICLR 2026"
_POSE_SETS = ("hiroom", "eth3d", "dtu64", "7scenes", "scannetpp")
_GEOMETRY_SETS = ("hiroom", "eth3d", "dtu", "7scenes", "scannetpp")


def _poses(model: str, source: str, *pairs: tuple[float, float]) -> PublishedRow:
    """Percent AUC3 and AUC30 of the five sets."""
    metrics = {
        name: {"auc03": round(three / 100, 5), "auc30": round(thirty / 100, 5)}
        for name, (three, thirty) in zip(_POSE_SETS, pairs, strict=True)
    }
    return PublishedRow(model, source, "pose", metrics)


def _geometry(model: str, source: str, *pairs: tuple[float, float]) -> tuple[PublishedRow, PublishedRow]:
    """F-scores in percent without and with poses, of DTU the overall distance in millimetres."""

    def row(task: Task, position: int) -> PublishedRow:
        metrics = {
            name: {"overall": pair[position]} if name == "dtu" else {"fscore": round(pair[position] / 100, 5)}
            for name, pair in zip(_GEOMETRY_SETS, pairs, strict=True)
        }
        return PublishedRow(model, source, task, metrics)

    return row("recon_unposed", 0), row("recon_posed", 1)


def _depth(model: str, source: str, **delta1: float) -> PublishedRow:
    """Percent of pixels within 1.25."""
    return PublishedRow(
        model, source, "depth", {name: {"delta1": round(value / 100, 5)} for name, value in delta1.items()}
    )


def _metric_depth(model: str, **pairs: tuple[float, float]) -> PublishedRow:
    metrics = {name: {"delta1": delta1, "abs_rel": abs_rel} for name, (delta1, abs_rel) in pairs.items()}
    return PublishedRow(model, "arXiv v1, Table 11", "depth", metrics)


def _views(model: str, **triples: tuple[float, float, float]) -> PublishedRow:
    """PSNR, SSIM and LPIPS, 12 context views, 270 × 480."""
    metrics = {name: dict(zip(("psnr", "ssim", "lpips"), triple, strict=True)) for name, triple in triples.items()}
    return PublishedRow(model, "arXiv v1, Table 5", "view_syn", metrics)


def _full(task: Task, fscore: Mapping[str, float], overall: Mapping[str, float]) -> PublishedRow:
    metrics = {
        name: {**({"fscore": fscore[name]} if name in fscore else {}), "overall": overall[name]} for name in overall
    }
    return PublishedRow("DA3-Giant", _REPOSITORY, task, metrics)


ROWS: tuple[PublishedRow, ...] = (
    _poses("DA3-Giant", _REPOSITORY, (80.30, 95.92), (48.72, 91.53), (94.08, 99.39), (27.44, 86.68), (84.70, 98.27)),
    _full(
        "recon_unposed",
        {"hiroom": 0.8629, "eth3d": 0.7876, "7scenes": 0.5043, "scannetpp": 0.7831},
        {"hiroom": 0.0457, "eth3d": 0.4366, "dtu": 1.7927, "7scenes": 0.1230, "scannetpp": 0.0676},
    ),
    _full(
        "recon_posed",
        {"hiroom": 0.9546, "eth3d": 0.8685, "7scenes": 0.5635, "scannetpp": 0.8045},
        {"hiroom": 0.0213, "eth3d": 0.3679, "dtu": 1.7488, "7scenes": 0.1092, "scannetpp": 0.0649},
    ),
    _poses("DUSt3R", _V1_POSES, (17.6, 54.3), (4.30, 27.3), (4.00, 74.3), (6.90, 61.6), (8.10, 33.9)),
    _poses("Fast3R", _V1_POSES, (25.9, 77.0), (8.10, 44.4), (9.50, 79.1), (19.0, 78.6), (17.9, 72.5)),
    _poses("MapAnything", _V1_POSES, (17.9, 82.8), (19.2, 77.4), (6.50, 72.7), (12.6, 79.7), (20.2, 84.1)),
    _poses("Pi3", _V1_POSES, (67.0, 94.8), (35.2, 87.3), (62.5, 94.9), (25.5, 86.3), (50.7, 92.1)),
    _poses("VGGT", _V1_POSES, (49.1, 88.0), (26.3, 80.8), (79.2, 99.8), (23.9, 85.0), (62.6, 95.1)),
    _poses("DA3-Giant", _V1_POSES, (80.3, 95.9), (48.4, 91.2), (94.1, 99.4), (28.5, 86.8), (85.0, 98.1)),
    _poses("DA3-Large", _V1_POSES, (58.7, 94.2), (32.2, 86.9), (70.2, 96.7), (29.2, 86.6), (60.2, 94.7)),
    _poses("DA3-Base", _V1_POSES, (19.0, 83.2), (15.1, 74.6), (60.1, 95.9), (20.1, 82.9), (25.1, 83.4)),
    _poses("DA3-Small", _V1_POSES, (9.49, 75.2), (8.59, 62.1), (30.6, 91.2), (14.0, 78.7), (10.9, 71.9)),
    *_geometry("DUSt3R", _V1_GEOMETRY, (30.1, 39.5), (19.7, 18.8), (7.60, 7.97), (26.6, 39.8), (18.9, 27.3)),
    *_geometry("Fast3R", _V1_GEOMETRY, (40.7, 48.2), (38.5, 50.3), (6.88, 8.20), (41.0, 49.8), (37.1, 53.7)),
    *_geometry("MapAnything", _V1_GEOMETRY, (32.4, 69.2), (54.8, 71.9), (7.91, 3.97), (44.8, 55.2), (39.4, 71.3)),
    *_geometry("Pi3", _V1_GEOMETRY, (75.8, 85.0), (72.7, 80.6), (3.28, 1.72), (44.2, 57.5), (63.1, 73.3)),
    *_geometry("VGGT", _V1_GEOMETRY, (56.7, 70.2), (57.2, 66.7), (2.05, 1.44), (47.9, 51.4), (66.4, 70.7)),
    *_geometry("DA3-Giant", _V1_GEOMETRY, (85.1, 95.6), (79.0, 87.1), (1.85, 1.85), (53.5, 56.5), (77.0, 79.3)),
    *_geometry("DA3-Large", _V1_GEOMETRY, (69.5, 87.1), (65.8, 75.2), (2.08, 1.23), (56.3, 49.2), (67.9, 75.7)),
    *_geometry("DA3-Base", _V1_GEOMETRY, (25.9, 71.4), (49.5, 66.7), (2.87, 2.36), (49.9, 50.6), (47.2, 67.8)),
    *_geometry("DA3-Small", _V1_GEOMETRY, (18.3, 52.2), (41.6, 63.4), (5.83, 2.49), (41.0, 46.8), (32.3, 53.8)),
    _poses("COLMAP", _ICLR, (13.0, 19.0), (4.75, 41.3), (87.2, 87.4), (22.3, 62.0), (13.3, 19.9)),
    _poses("GLOMAP", _ICLR, (31.9, 42.6), (8.37, 21.7), (96.8, 96.9), (24.1, 85.0), (20.8, 42.9)),
    _poses("DA3-Giant", _ICLR, (81.7, 96.4), (39.3, 90.6), (85.6, 94.9), (29.2, 86.8), (83.2, 98.0)),
    _poses("DA3-Large", _ICLR, (37.9, 84.5), (19.0, 81.7), (58.4, 95.3), (25.1, 85.4), (46.9, 92.1)),
    _poses("DA3-Base", _ICLR, (12.8, 79.8), (13.6, 74.0), (31.4, 90.8), (17.2, 81.1), (16.2, 77.5)),
    _poses("DA3-Small", _ICLR, (3.40, 64.6), (4.89, 51.9), (9.46, 82.2), (6.19, 71.8), (2.86, 51.8)),
    *_geometry("COLMAP+PatchMatch", _ICLR, (16.8, 21.9), (20.7, 25.7), (1.67, 1.64), (40.0, 37.3), (15.7, 19.6)),
    *_geometry("GLOMAP+PatchMatch", _ICLR, (30.7, 41.1), (24.1, 36.3), (1.62, 1.59), (43.9, 47.6), (16.5, 22.4)),
    *_geometry("DA3-Giant", _ICLR, (89.3, 95.2), (74.4, 85.8), (1.92, 0.91), (52.0, 52.3), (76.4, 79.2)),
    *_geometry("DA3-Large", _ICLR, (48.2, 85.7), (57.3, 79.1), (3.45, 2.48), (48.7, 48.7), (58.9, 72.9)),
    *_geometry("DA3-Base", _ICLR, (18.6, 71.7), (52.8, 66.6), (5.14, 1.99), (37.8, 47.2), (39.7, 66.3)),
    *_geometry("DA3-Small", _ICLR, (12.9, 43.1), (39.4, 58.2), (5.12, 4.05), (30.8, 39.5), (24.2, 45.7)),
    _depth("Depth Anything 2", "arXiv v1, Table 4", kitti=94.6, nyu=97.9, sintel=77.2, eth3d=86.5, diode=95.2),
    _depth("VGGT", "arXiv v1, Table 4", kitti=91.7, nyu=97.9, sintel=67.9, eth3d=97.5, diode=95.3),
    _depth("DA3", "arXiv v1, Table 4", kitti=95.3, nyu=97.4, sintel=75.5, eth3d=98.6, diode=95.4),
    _depth("Teacher", "arXiv v1, Table 4", kitti=97.2, nyu=97.9, sintel=81.4, eth3d=99.8, diode=96.6),
    _depth("DA3-mono", "arXiv v1, Table 10", kitti=97.1, nyu=98.0, sintel=82.3, eth3d=98.8, diode=96.5),
    _metric_depth(
        "DepthPro",
        nyu=(0.932, 0.093),
        kitti=(0.843, 0.121),
        eth3d=(0.386, 0.349),
        sunrgbd=(0.950, 0.126),
        diode=(0.734, 0.173),
    ),
    _metric_depth(
        "Metric3D v2",
        nyu=(0.971, 0.067),
        kitti=(0.976, 0.051),
        eth3d=(0.830, 0.138),
        sunrgbd=(0.954, 0.132),
        diode=(0.018, 0.154),
    ),
    _metric_depth(
        "UniDepth v1",
        nyu=(0.980, 0.061),
        kitti=(0.978, 0.051),
        eth3d=(0.234, 0.464),
        sunrgbd=(0.971, 0.113),
        diode=(0.570, 0.266),
    ),
    _metric_depth(
        "UniDepth v2",
        nyu=(0.968, 0.064),
        kitti=(0.968, 0.076),
        eth3d=(0.863, 0.152),
        sunrgbd=(0.977, 0.111),
        diode=(0.856, 0.123),
    ),
    _metric_depth(
        "DA3-metric",
        nyu=(0.963, 0.070),
        kitti=(0.953, 0.086),
        eth3d=(0.917, 0.104),
        sunrgbd=(0.973, 0.105),
        diode=(0.838, 0.128),
    ),
    _views(
        "pixelSplat",
        dl3dv=(16.55, 0.456, 0.480),
        tanks_and_temples=(13.81, 0.347, 0.558),
        megadepth=(13.87, 0.367, 0.561),
    ),
    _views(
        "MVSplat", dl3dv=(18.13, 0.559, 0.393), tanks_and_temples=(14.81, 0.391, 0.508), megadepth=(14.67, 0.398, 0.533)
    ),
    _views(
        "DepthSplat",
        dl3dv=(19.24, 0.620, 0.322),
        tanks_and_temples=(15.80, 0.474, 0.418),
        megadepth=(15.90, 0.471, 0.450),
    ),
    _views(
        "Fast3R", dl3dv=(19.30, 0.604, 0.320), tanks_and_temples=(16.24, 0.478, 0.409), megadepth=(16.43, 0.493, 0.421)
    ),
    _views(
        "MV-DUSt3R",
        dl3dv=(20.01, 0.645, 0.294),
        tanks_and_temples=(17.04, 0.529, 0.370),
        megadepth=(16.20, 0.484, 0.437),
    ),
    _views(
        "VGGT", dl3dv=(20.96, 0.697, 0.253), tanks_and_temples=(17.18, 0.550, 0.347), megadepth=(16.45, 0.500, 0.417)
    ),
    _views(
        "DA3", dl3dv=(21.33, 0.711, 0.241), tanks_and_temples=(18.10, 0.578, 0.311), megadepth=(17.89, 0.561, 0.351)
    ),
)


def published_rows(task: Task, datasets: set[str]) -> list[PublishedRow]:
    """Return the rows of a task that say something of any of the data sets."""
    return [row for row in ROWS if row.task == task and datasets & row.metrics.keys()]
