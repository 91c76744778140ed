"""What the project promises around its code: light imports, documented names, and texts that stay true."""

import ast
import dataclasses
import difflib
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import requires, version
from pathlib import Path

import jaxtyping
import pytest
import torch

import anyview
from anyview.model.config import PRESETS
from anyview.options import ExportOptions, PredictOptions, RenderOptions, StreamOptions
from anyview.types import Cameras

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "anyview"
TEXTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SLOW = {"av", "cv2", "huggingface_hub", "matplotlib", "open3d", "pillow_heif", "pycolmap", "scipy", "trimesh", "tyro"}


def run_python(*arguments: str, folder: Path = ROOT) -> str:
    """Standard output of a Python process that must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"exit code {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def modules_after(script: str) -> set[str]:
    """Top-level modules that a fresh process has loaded after ``script``."""
    output = run_python("-c", f"{script}\nimport sys\nprint(*sys.modules)")
    return {name.partition(".")[0] for name in output.splitlines()[-1].split()}


def test_importing_anyview_is_cheap():
    assert modules_after("import anyview") & (SLOW | {"torch", "numpy", "PIL"}) == set()


def test_the_demonstration_needs_core_packages_only(tmp_path):
    """As after ``make demo`` on a fresh machine, which installs no extra."""
    script = """
import sys

class Missing:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"scipy", "pycolmap", "pillow_heif", "matplotlib", "open3d", "pytest"}:
            raise ModuleNotFoundError(f"No module named {name!r}")

sys.meta_path.insert(0, Missing())
from anyview.cli import main
sys.exit(main(["demo", "-o", "out"]))
"""
    output = run_python("-c", script, folder=tmp_path)
    assert output.startswith("4 views of 280×224 pixels with da3-nano\n")
    assert (tmp_path / "out" / "scene.glb").is_file()


def test_importing_the_predictor_loads_nothing_slow_but_torch():
    loaded = modules_after("import anyview.predictor")
    assert "torch" in loaded
    assert loaded & SLOW == set()


def test_help_needs_no_torch():
    script = """
import sys
from anyview.cli import main
sys.argv = ["anyview", "predict", "--help"]
try:
    main()
except SystemExit as stop:
    assert not stop.code, stop.code
"""
    assert modules_after(script) & (SLOW - {"tyro"} | {"torch"}) == set()


def test_the_public_names_are_there():
    for name in anyview.__all__:
        assert getattr(anyview, name).__module__.startswith("anyview.")
    with pytest.raises(AttributeError, match="has no attribute 'DepthAnything4'"):
        _ = anyview.DepthAnything4


def test_the_installed_version_is_the_declared_one():
    assert anyview.__version__ == version("anyview")


def test_every_requirement_has_an_exact_version():
    pinned = {canonical(line) for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line}
    required = {canonical(line) for line in requires("anyview") or []} - {"anyview"}
    assert required - pinned == set()


def canonical(requirement: str) -> str:
    """Name of a package as registries compare it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name.group()).lower()


def test_shapes_are_checked_here():
    with pytest.raises(jaxtyping.TypeCheckError):
        Cameras(torch.eye(4)[:3], torch.eye(3))


@pytest.mark.compiled
def test_dataclasses_pass_through_compiled_code():
    def moved(cameras: Cameras) -> Cameras:
        return Cameras(2 * cameras.world_to_camera, cameras.intrinsics + 1)

    cameras = Cameras(torch.eye(4), torch.eye(3))
    result = torch.compile(moved, fullgraph=True, backend="eager")(cameras)
    assert isinstance(result, Cameras)
    assert torch.equal(result.world_to_camera, 2 * torch.eye(4))
    assert torch.equal(result.intrinsics, torch.eye(3) + 1)


def public_definitions(body: list[ast.stmt]) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef]:
    """Functions, classes and methods without a leading underscore."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


def test_public_names_have_docstrings():
    bare = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for node in public_definitions(ast.parse(path.read_text()).body)
        if not ast.get_docstring(node)
    ]
    assert bare == []


def python_blocks(text: str) -> Iterator[tuple[int, str, str]]:
    """Line, mark and code of every fenced Python block."""
    for block in re.finditer(r"^```python *([^\n]*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield text.count("\n", 0, block.start()) + 2, block[1], block[2]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: path.name)
def test_written_python_runs(path, tmp_path, monkeypatch):
    """Blocks run in order, in one namespace; ``python no-run`` marks those that need a downloaded checkpoint."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": path.stem}
    for line, mark, code in python_blocks(path.read_text()):
        assert mark in ("", "no-run"), f"{path}:{line}: unknown mark {mark!r}"
        compiled = compile("\n" * (line - 1) + code, path, "exec")
        if not mark:
            exec(compiled, namespace)


def test_the_readme_shows_python_that_runs():
    assert "" in [mark for _, mark, _ in python_blocks((ROOT / "README.md").read_text())]


def test_the_table_of_presets_is_true():
    text = (ROOT / "docs" / "checkpoints.md").read_text()
    rows = re.findall(r"^\| `(da3[\w-]*)` \|.*\| ([\d,]+) \| (Apache-2.0|CC BY-NC 4.0)", text, re.MULTILINE)
    presets = [(name, f"{preset.parameters:,}", preset.licence) for name, preset in PRESETS.items()]
    assert [(name, parameters, licence.replace(" ", "-")) for name, parameters, licence in rows] == presets


def test_there_are_examples():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_run(path, tmp_path):
    run_python(str(path), folder=tmp_path)


def files_in_tree(readme: str) -> list[str]:
    """Python files below ``src/anyview/`` in the README's tree, where indentation means inside.

    A line is one name, or several of one folder, then two spaces or more, then what they are for.
    """
    lines = iter(readme.splitlines())
    if not any(line.startswith("src/anyview/") for line in lines):
        return []
    files: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in lines:
        names = re.split(r"\s{2,}", line.strip())[0].split()
        indent = len(line) - len(line.lstrip())
        if names and not indent:
            break
        while folders and folders[-1][0] >= indent:
            folders.pop()
        inside = "".join(name for _, name in folders)
        files += [inside + name for name in names if name.endswith(".py")]
        if names and names[0].endswith("/"):
            folders.append((indent, names[0]))
    return files


def test_a_tree_is_read_by_its_indentation():
    readme = """
README.md            what it is
src/anyview/
  __init__.py        the public names

  geometry/          pure functions/values, no I/O
    camera.py        see pose.py for poses
  serve/
    app.py jobs.py web/   pages
  cli.py             thin
tests/               test_cli.py and others
  cli_tests.py       not ours
"""
    expected = ["__init__.py", "geometry/camera.py", "serve/app.py", "serve/jobs.py", "cli.py"]
    assert files_in_tree(readme) == expected


def test_the_readme_names_every_file_once():
    """Empty ``__init__.py`` files need no line."""
    named = files_in_tree((ROOT / "README.md").read_text())
    there = [
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if path.name != "__init__.py" or path.stat().st_size
    ]
    assert sorted(named) == sorted(there)


def command_options(command: str) -> set[str]:
    """Long options that ``anyview COMMAND --help`` declares: at the start of a line, two spaces before the text."""
    script = "import sys; from anyview.cli import main; sys.exit(main())"
    declared = re.findall(r"^│ (-.*?)(?:  |$)", run_python("-c", script, command, "--help"), re.MULTILINE)
    return set(re.findall(r"--[a-z][a-z0-9.-]*", " ".join(declared)))


def test_every_option_of_prediction_and_export_is_on_the_command_line():
    fields = [*dataclasses.fields(PredictOptions), *dataclasses.fields(ExportOptions)]
    expected = {"--" + field.name.replace("_", "-") for field in fields}
    assert expected - command_options("predict") == set()


def test_every_option_of_rendering_is_on_the_command_line():
    expected = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(RenderOptions)}
    assert expected - command_options("render") == set()


def test_every_option_of_streaming_is_on_the_command_line():
    expected = {"--" + field.name.replace("_", "-") for field in dataclasses.fields(StreamOptions)}
    assert expected - command_options("stream") == set()


COMMANDS = ("bench", "convert", "demo", "models", "odometry", "predict", "render", "serve", "stream", "synth", "train")


def test_the_command_line_has_the_known_options(golden):
    """Options appear and disappear on purpose only: a wanted change goes into the file together with the CHANGELOG."""
    now = [f"{command} {option}" for command in COMMANDS for option in sorted(command_options(command))]
    known = (golden / "cli_options.txt").read_text().splitlines()
    difference = difflib.unified_diff(known, now, "tests/golden/cli_options.txt", "now", lineterm="", n=0)
    assert now == known, "\n".join(difference)
