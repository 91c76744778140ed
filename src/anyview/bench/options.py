"""What a benchmark run is. No torch here: ``anyview --help`` must answer at once."""

from dataclasses import dataclass
from typing import Literal, get_args

from anyview.options import Protocol, nearest_names

Task = Literal["pose", "recon_unposed", "recon_posed", "depth", "view_syn"]
"""Camera poses; geometry fused with predicted or with true cameras; depth of single pictures; view synthesis."""
TASKS: tuple[Task, ...] = get_args(Task)
Pass = Literal["unposed", "posed", "single", "context"]
"""What a model is given: pictures; pictures and true cameras; one picture at a time; some views with true cameras, and
the cameras of others that it has to render."""
PASS_OF: dict[Task, Pass] = {
    "pose": "unposed",
    "recon_unposed": "unposed",
    "recon_posed": "posed",
    "depth": "single",
    "view_syn": "context",
}
TableFormat = Literal["text", "markdown", "json", "csv", "latex"]
Recompute = Literal["nothing", "corrupt", "scores", "everything"]
DepthProtocol = Literal["da2-rel", "marigold-affine", "moge", "zoe-metric", "unidepth-metric"]


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """What is scored, and by which rules."""

    protocol: Protocol = "sane"
    """sane: what is clearly wrong in the published evaluator is put right; compat: its numbers, quirk for quirk
    (docs/benchmark.md has both side by side). They are never mixed in one folder."""
    max_frames: int = 100
    """Scenes with more frames are thinned to this many, the same ones always (0: all frames)."""
    scenes: tuple[str, ...] = ()
    """Only scenes of these names, of all data sets; default: all."""
    depth_protocol: DepthProtocol = "da2-rel"
    """Crops, caps and alignment of single-picture depth."""
    filter_unposed: bool = False
    """DTU: keep only points that four views agree on in recon_unposed too, as recon_posed always does."""
    context_views: int = 12
    """View synthesis: pictures that a model sees, chosen far apart from all but every eighth."""
    refine_steps: int = 0
    """View synthesis: steps in which the Gaussians of a Depth Anything 3 model are fitted to the pictures it saw."""
    shard: str = "1/1"
    """Work on every n-th scene only, as i/n: 1/4, 2/4 and so on, each in a process of its own."""
    adopt: bool = False
    """Score the results that the published evaluator wrote below the output folder, as if they were the model's. Names
    of pictures are read from its pickles, which may hold nothing but text."""
    recompute: Recompute = "nothing"
    """What to make again though it is there: corrupt results, all scores, or everything."""

    def __post_init__(self) -> None:
        for name, choices in (("protocol", get_args(Protocol)), ("depth_protocol", get_args(DepthProtocol))):
            if getattr(self, name) not in choices:
                value = getattr(self, name)
                raise ValueError(f"unknown {name} {value!r}; {nearest_names(value, choices)}")

    def check(self, task: Task) -> None:
        """Refuse numbers that mean nothing; not when made, so that the command line can say so in its own words.

        Raises:
            ValueError: naming the number and what was expected.
        """
        if self.context_views < 1:
            raise ValueError(f"expected at least 1 context view, got {self.context_views}")
        if self.refine_steps < 0:
            raise ValueError(f"expected 0 refinement steps or more, got {self.refine_steps}")
        if self.refine_steps and task != "view_syn":
            raise ValueError(f"refinement steps are for view_syn, and this is {task}; leave out --refine-steps")

    def parsed_shard(self) -> tuple[int, int]:
        """Return (position from 0 on, count) of the shard.

        Raises:
            ValueError: it is not of the form i/n with 1 ≤ i ≤ n.
        """
        position, slash, count = self.shard.partition("/")
        if not (slash and position.isdecimal() and count.isdecimal() and 1 <= int(position) <= int(count)):
            raise ValueError(f"expected a shard as i/n with i from 1 to n, got {self.shard!r}")
        return int(position) - 1, int(count)
