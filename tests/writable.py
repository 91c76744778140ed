"""Formats that can be written here: all, but for those whose package has no wheel for this Python."""

import importlib.util

from anyview.exporters import FORMATS

WRITABLE = [name for name, form in FORMATS.items() if form.package is None or importlib.util.find_spec(form.package)]
