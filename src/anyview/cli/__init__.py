"""The command line. Options come from the dataclasses; each command only wires libraries together.

A command is a module with a frozen dataclass, whose fields are its options and whose ``run`` returns the exit code, or
None for 0; ``Command`` names it.
"""

import io
import sys
import warnings
from typing import Annotated

import tyro

from anyview.cli.bench import Bench
from anyview.cli.convert import Convert
from anyview.cli.demo import Demo
from anyview.cli.models import Models
from anyview.cli.odometry import Odometry
from anyview.cli.predict import Predict
from anyview.cli.render import Render
from anyview.cli.serve import Serve
from anyview.cli.stream import Stream
from anyview.cli.synth import Synth
from anyview.cli.train import Train

Command = (
    Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Render, tyro.conf.subcommand("render")]
    | Annotated[Stream, tyro.conf.subcommand("stream")]
    | Annotated[Odometry, tyro.conf.subcommand("odometry")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
    | Annotated[Demo, tyro.conf.subcommand("demo")]
    | Annotated[Synth, tyro.conf.subcommand("synth")]
    | Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Bench, tyro.conf.subcommand("bench")]
    | Annotated[Serve, tyro.conf.subcommand("serve")]
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 2 where one line on stderr says what was wrong.

    1 is for what was done and did not all succeed: scenes of a benchmark that failed.
    """
    command = tyro.cli(
        Command,
        prog="anyview",
        description="3D space from any number of views.",
        args=arguments,
        config=(tyro.conf.OmitSubcommandPrefixes,),
    )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # no terminal's alphabet may end a run
    try:
        with warnings.catch_warnings():
            # Phones take pictures that Pillow warns of; it refuses those of twice that size.
            warnings.filterwarnings("ignore", "Image size .* exceeds limit")
            return command.run() or 0
    except (ValueError, ImportError, OSError, MemoryError) as error:
        print(f"anyview: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("anyview: interrupted", file=sys.stderr)
        return 130


def _one_line(error: BaseException) -> str:
    """The message of an error, without line breaks."""
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}"
    return " ".join(str(error).split()) or type(error).__name__
