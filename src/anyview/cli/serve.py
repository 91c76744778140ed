from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

from anyview.cli.fields import FLAT
from anyview.serve.options import ServeOptions


@dataclass(frozen=True)
class Serve:
    """Give a team one address: a page to drop photos or a video on, and a REST interface (docs/serving.md)."""

    serve: Annotated[ServeOptions, FLAT] = field(default_factory=ServeOptions)

    def run(self) -> None:
        """Serve until interrupted."""
        from anyview.serve.server import run_server

        run_server(self.serve, partial(print, flush=True))
