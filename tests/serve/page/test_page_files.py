"""What the page consists of: files that fit together, speak to this server only, and bring no markup from strings."""

import re
from pathlib import Path

import pytest

import anyview

WEB = Path(anyview.__file__).parent / "serve" / "web"
MODULES = sorted((WEB / "js").glob("*.js"))
HTML = (WEB / "index.html").read_text()
OWN = [WEB / "index.html", WEB / "style.css", *MODULES]


@pytest.mark.parametrize("path", [*MODULES, *sorted((WEB / "vendor").glob("*.js"))], ids=lambda path: path.name)
def test_imports_are_files_of_ours(path):
    code = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)
    imported = re.findall(r"""\b(?:from|import) ?\(?["']([\w./-]+)["']""", code)
    assert [name for name in imported if not name.startswith((".", "/"))] == []
    assert [name for name in imported if not (path.parent / name).resolve().is_file()] == []


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_nothing_comes_from_elsewhere_or_from_strings(path):
    text = path.read_text()
    assert re.findall(r"https?:|[\"'(]//|@import|url\(", text) == []
    assert re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text) == []
    assert len(text.splitlines()) <= 250


def test_scripts_and_styles_are_files():
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=", HTML) == []
    named = re.findall(r"""(?:src|href)="static/([^"]+)\"""", HTML)
    assert named
    assert [name for name in named if not (WEB / name).is_file()] == []


def test_ids_of_markup_and_modules_agree():
    wanted = {name for path in MODULES for name in re.findall(r'byId\("([\w-]+)"', path.read_text())}
    there = re.findall(r'\bid="([\w-]+)"', HTML)
    assert len(set(there)) == len(there)
    layers = {"show-points", "show-cameras", "show-mesh", "show-gaussians"}  # byId(`show-${name}`)
    assert wanted - set(there) == set()
    used = wanted | layers | set(re.findall(r"#([\w-]+)", (WEB / "style.css").read_text()))
    labels = set(re.findall(r'(?:for|aria-labelledby)="([\w-]+)"', HTML)) | {"main", "predict-summary"}
    assert set(there) - used - labels == set()


def test_fields_have_names_and_buttons_do_not_send_by_chance():
    for field in re.findall(r"<(?:input|select)\b[^>]*>", HTML):
        name = re.search(r'id="([\w-]+)"', field)
        assert name, field
        inside_label = re.search(rf'<label[^>]*>(?:(?!</label>).)*id="{name[1]}"', HTML, re.DOTALL)
        assert inside_label or f'for="{name[1]}"' in HTML or "aria-label=" in field, field
    buttons = re.findall(r"<button\b[^>]*>", HTML)
    sending = [button for button in buttons if "type=" not in button]
    assert sending == [
        '<button id="send" class="main" disabled>',
        '<button value="use" class="main">',
        '<button value="" formnovalidate>',
    ]


def test_the_vendored_files_say_where_they_are_from():
    readme = (WEB / "vendor" / "README.md").read_text()
    version = re.search(r"npm pack three@0\.(\d+)\.0", readme)
    assert version
    core = (WEB / "vendor" / "three.core.min.js").read_text()
    assert f'"{version[1]}"' in core
    assert "MIT" in (WEB / "vendor" / "LICENSE.three.txt").read_text()
    for path in (WEB / "vendor").iterdir():
        assert path.name in readme or path.name == "README.md"
