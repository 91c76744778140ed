"""Imports point down: a box imports lower rows, itself, and nothing else of anyview (docs/architecture.md)."""

import ast
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

ROWS = (
    {"types", "options", "files"},
    {"geometry", "devices"},
    {"model", "images", "render", "fusion"},
    {"predictor", "exporters", "synth", "recordings"},
    {"streaming"},
    {"serve", "bench", "training", "demo", "compat"},
    {"cli"},
)
ROW_OF = {box: row for row, boxes in enumerate(ROWS, start=1) for box in boxes}
MEANINGLESS = {"utils", "helpers", "common", "misc"}


def violations(package: Path) -> Iterator[str]:
    """Say what breaks the order in the source tree of ``anyview``."""
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        yield from (f"{path}: {name} says nothing" for name in MEANINGLESS.intersection(parts))
        box = parts[0]
        if box != "__init__" and box not in ROW_OF:
            yield f"{path}: {box} is in no row"
            continue
        parent = ".".join((package.name, *parts[:-1]))
        for line, target in imported_boxes(ast.parse(path.read_text()), parent, is_facade=box == "__init__"):
            if target not in ROW_OF:
                yield f"{path}:{line}: {target or package.name} is in no row: import a name from where it is defined"
            elif target != box and ROW_OF[target] >= ROW_OF.get(box, 0):
                yield f"{path}:{line}: {box} (row {ROW_OF.get(box, 0)}) imports {target} (row {ROW_OF[target]})"


def imported_boxes(tree: ast.AST, parent: str, *, is_facade: bool) -> Iterator[tuple[int, str]]:
    """Yield line and box of every import of anyview, wherever it stands; the facade may name all for type checkers."""
    root = parent.partition(".")[0]
    for node in ast.iter_child_nodes(tree):
        if is_facade and isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), parent)
            names = [f"{module}.{alias.name}" for alias in node.names] if module == root else [module]
        for name in names:
            package, _, rest = name.partition(".")
            if package == root and rest != "__version__":
                yield node.lineno, rest.partition(".")[0]
        yield from imported_boxes(node, parent, is_facade=is_facade)


def test_imports_point_down():
    assert list(violations(Path(__file__).parents[1] / "src" / "anyview")) == []


def test_a_bad_tree_is_refused(tmp_path):
    package = tmp_path / "anyview"
    sources = {
        "__init__.py": "if TYPE_CHECKING:\n    import anyview.cli\nimport anyview.types",
        "types.py": "import torch\nfrom anyview import __version__\nimport anyview.typesetting",
        "options.py": "from anyview.types import Cameras",
        "model/network.py": "from .layers import Block\nfrom ..images import read\nfrom anyview.geometry import pose",
        "model/layers.py": "if TYPE_CHECKING:\n    from anyview import streaming",
        "geometry/utils.py": "def pose():\n    from anyview.predictor import DepthAnything3",
        "bench/runner.py": "from anyview import export\nimport anyview",
        "training/step.py": "import anyview.streaming.windows\nfrom anyview.bench.metrics import auc",
        "extras.py": "from anyview.types import Cameras",
        "cli.py": "from anyview import demo, exporters",
    }
    for name, source in sources.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(source)
    found = [line.removeprefix(f"{package}/") for line in violations(package)]
    assert found == [
        "__init__.py:3: __init__ (row 0) imports types (row 1)",
        "bench/runner.py:1: export is in no row: import a name from where it is defined",
        "bench/runner.py:2: anyview is in no row: import a name from where it is defined",
        "extras.py: extras is in no row",
        "geometry/utils.py: utils says nothing",
        "geometry/utils.py:2: geometry (row 2) imports predictor (row 4)",
        "model/layers.py:2: model (row 3) imports streaming (row 5)",
        "model/network.py:2: model (row 3) imports images (row 3)",
        "options.py:1: options (row 1) imports types (row 1)",
        "training/step.py:2: training (row 6) imports bench (row 6)",
        "types.py:3: typesetting is in no row: import a name from where it is defined",
    ]
