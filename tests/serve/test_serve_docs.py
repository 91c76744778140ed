"""docs/serving.md: its commands run as they stand, and its tables are complete."""

import json
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from serving import picture, running, until

from anyview.exporters.npz import read_npz
from anyview.serve.options import ServeOptions
from anyview.serve.requests import JobOptions

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "serving.md").read_text()
TOKEN = "anna-has-this-token"


@pytest.mark.skipif(shutil.which("curl") is None or shutil.which("bash") is None, reason="needs curl and bash")
def test_the_commands_run_as_they_stand_and_call_every_route(tiny: Path, tmp_path: Path):
    calls = TEXT[TEXT.index("## Calls") : TEXT.index("## From Python")]
    blocks = re.findall(r"^```sh\n(.*?)^```$", calls, re.MULTILINE | re.DOTALL)
    here = tmp_path / "here"
    here.mkdir()
    for name in ("left.jpg", "right.jpg"):
        (here / name).write_bytes(picture(kind="JPEG"))
    options = ServeOptions(data=tmp_path / "data", devices=("cpu",), nice=0, free_mib=0.0)
    with running(options, tiny, {"anna": TOKEN}) as server:
        until(lambda: server.service.workers_ready)
        script = "\n".join(blocks).replace("http://127.0.0.1:8000", server.address)
        environment = {"TOKEN": TOKEN, "PATH": "/usr/local/bin:/usr/bin:/bin", "no_proxy": "*"}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=here,
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr + done.stdout[-2000:]
        families = text_string_to_metric_families(server.service.metrics.text({}, 0, 1, 0).decode())
        called = {
            (sample.labels["method"], sample.labels["route"])
            for family in families
            for sample in family.samples
            if sample.name == "anyview_requests_total"
        }
        paths = json.loads((here / "openapi.json").read_text())["paths"]
        documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    simple = {(method, path.replace(":path}", "}")) for method, path in called}
    assert documented - simple == set()
    assert (here / "scene.glb").read_bytes() == (here / "shared.glb").read_bytes()
    assert (here / "result.zip").read_bytes()[:2] == b"PK"
    assert (here / "depth.png").read_bytes()[:4] == b"\x89PNG"
    assert read_npz(here / "depth.npz").model == "tiny"


def test_every_option_stands_in_the_table():
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| (.*?) \|", TEXT, re.MULTILINE))
    assert list(rows) == [field.name.replace("_", "-") for field in fields(ServeOptions)]
    for field in fields(ServeOptions):
        default = " ".join(field.default) or "none" if isinstance(field.default, tuple) else str(field.default)
        assert rows[field.name.replace("_", "-")] == default


def test_every_option_of_jobs_stands_in_its_table():
    start = TEXT.index("The options of a job:")
    table = TEXT[start : TEXT.index("###", start)]
    named = {name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}
    assert named == set(JobOptions.model_fields)


def test_the_container_is_built_from_what_it_needs_and_nothing_else():
    """The ignore file beside the container file lets through what is copied: nothing of data, tokens, history."""
    copied = re.findall(r"^COPY (.*) \S+$", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
    lines = (ROOT / "deploy" / "Containerfile.dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == {name for names in copied for name in names.split()}
    assert all((ROOT / rule[1:]).exists() for rule in rules if rule.startswith("!"))


def test_options_in_texts_and_deployment_are_options():
    known = {"--" + field.name.replace("_", "-") for field in fields(ServeOptions)}
    deploy = ROOT / "deploy"
    entry_point = (deploy / "Containerfile").read_text().splitlines()[-1]
    compose = yaml.safe_load((deploy / "compose.yaml").read_text())
    assert compose["services"]["cuda"]["ports"] == ["127.0.0.1:8000:8000"]
    commands = [
        *re.findall(r"^.*anyview serve.*$", TEXT, re.MULTILINE),
        *re.findall(r"`(--[a-z-]+)", TEXT.replace("`--build-arg", "")),
        *re.findall(r"^.*anyview serve.*$", (deploy / "anyview.service").read_text(), re.MULTILINE),
        *re.findall(r"^.*--.*$", (deploy / "nginx.conf").read_text(), re.MULTILINE),
        *compose["services"]["cuda"]["command"],
        entry_point,
    ]
    named = {option for command in commands for option in re.findall(r"--[a-z][a-z-]+", command)}
    assert len(named) > 15
    assert named - known == set()
