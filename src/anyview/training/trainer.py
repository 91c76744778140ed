"""The training loop."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from anyview.devices import resolve_dtype
from anyview.model import checkpoint
from anyview.model.network import build
from anyview.training.config import TrainOptions, check_options
from anyview.training.distributed import Team, join_team, replicated, whole
from anyview.training.folder import RunFolder
from anyview.training.journal import Journal
from anyview.training.objective import Objective, objective_of
from anyview.training.optimizer import learning_rate, set_learning_rate, update_average
from anyview.training.samples import Sample, Source, check_budget, check_views, draw_sample
from anyview.training.state import TrainState
from anyview.training.validation import Evaluator, to_device
from anyview.types import TrueViews

Outcome = Literal["finished", "interrupted"]


class NotFiniteError(RuntimeError):
    """A loss or a gradient became infinite or NaN."""


def train(
    options: TrainOptions,
    source: Source,
    folder: str | Path,
    *,
    validation: Source | None = None,
    evaluators: Sequence[Evaluator] = (),
    data: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Train a network, and write it to ``folder``/model.safetensors (`training.folder` says what else lies there).

    Started by torchrun, the processes train together. Ctrl-C and SIGTERM let the step end, write a checkpoint and
    return "interrupted"; ``resume`` goes on from the last checkpoint, to the bit as if nothing had happened (on CPUs),
    and starts anew where there is none. A kill loses the steps since that checkpoint.

    Args:
        options: The recipe.
        source: Scenes to train on.
        folder: Where the run is kept.
        validation: Scenes that `source` never shows; None: no validation.
        evaluators: Score the network on the scenes of ``validation``.
        data: Names what ``source`` shows; a run is not resumed with other data. None: nothing is kept or compared.
        resume: Go on with the run in ``folder``.
        overwrite: Remove the run in ``folder``.
        device: "auto" takes a GPU if there is one.
        say: Takes a line of progress now and then.

    Raises:
        ValueError: the options make no sense, or scenes have too few views for them; ``folder`` holds a run, or cannot
            be resumed with these options.
        NotFiniteError: the loss is not finite; the message names the scenes. The last checkpoint is from before.
    """
    check_options(options)
    check_views(options, source, validation)
    run = RunFolder(Path(folder))
    run.check(options, data, resume=resume, overwrite=overwrite)
    with join_team(device) as team:
        check_budget(options, team.size)
        team.wait()
        if team.leads:
            run.prepare(options, data, overwrite=overwrite)
        team.wait()
        if run.model.exists():
            return "finished"
        objective = objective_of(options)
        state = TrainState.fresh(options, team, objective, say if team.leads else lambda line: None)
        latest = run.latest_checkpoint()
        if latest is not None:
            state.restore(latest)
        _set_up(state, options, team.device)
        with Journal(run, options, state.step, say, writes=team.leads) as journal, stop_requests() as asked_to_stop:
            loop = _Loop(options, objective, source, validation, evaluators, run, team, state, journal)
            return loop.run(asked_to_stop)


def _set_up(state: TrainState, options: TrainOptions, device: torch.device) -> None:
    precision = resolve_dtype(options.precision, device)
    for network in (state.network, state.averaged):
        # float16 would need its gradients scaled; GPUs that have nothing better train in float32.
        network.backbone_dtype = torch.float32 if precision == torch.float16 else precision
        network.backbone.recompute = options.recompute
        network.frames_at_once = 10_000  # whole batches: what is left for the way back fills the memory anyway
    if options.compile:
        for block in state.network.backbone.blocks:
            block.compile(dynamic=True)


class _Loop:
    """The steps of one call of `train`, with what they need at hand."""

    def __init__(
        self,
        options: TrainOptions,
        objective: Objective,
        source: Source,
        validation: Source | None,
        evaluators: Sequence[Evaluator],
        folder: RunFolder,
        team: Team,
        state: TrainState,
        journal: Journal,
    ) -> None:
        self.options, self.objective = options, objective
        self.source, self.validation, self.evaluators = source, validation, evaluators
        self.folder, self.team, self.state, self.journal = folder, team, state, journal
        self.unread: list[_Done] = []
        """Steps whose numbers are still on the device: reading them earlier would make it wait."""

    def run(self, asked_to_stop: Callable[[], bool]) -> Outcome:
        options, state = self.options, self.state
        samples = (draw_sample(options, step) for step in range(state.step, options.steps))
        for sample, truth in batches_ahead(self._load, samples, options.ahead):
            self._step(sample, truth)
            stops = self.team.any(asked_to_stop())
            last = state.step == options.steps
            if stops or last or state.step % options.log_every == 0:
                self._read_numbers()
            if stops or last or state.step % options.checkpoint_every == 0:
                self._checkpoint()
            if self.validation is not None and (last or state.step % options.validate_every == 0):
                self._validate(self.validation)
            if stops and not last:
                return "interrupted"
        self._write_model()
        return "finished"

    def _load(self, sample: Sample) -> TrueViews:
        mine = sample.share(self.team.rank, self.team.size)
        truth = self.source.batch(mine.indices, sample.views, sample.height, sample.width, sample.spread)
        return to_device(truth, self.team.device)

    def _step(self, sample: Sample, truth: TrueViews) -> None:
        options, state, team = self.options, self.state, self.team
        mine = sample.share(team.rank, team.size)
        terms = self.objective.terms(state.reader, truth, mine)
        losses = self.objective.weigh(terms)
        # Processes' gradients are averaged, each with its own number of scenes.
        (losses.sum() * (team.size / len(sample.indices))).backward()
        norm = torch.nn.utils.clip_grad_norm_(state.network.parameters(), options.clip)
        set_learning_rate(state.optimizer, learning_rate(options, state.step))
        state.optimizer.step()
        state.optimizer.zero_grad()
        update_average(state.averaged, state.network, options.average_decay, state.step)
        state.step += 1
        self.journal.saw(len(sample.indices) * sample.views)
        named = {"loss": losses, **terms}
        self.unread.append(
            _Done(
                mine,
                len(sample.indices),
                tuple(named),
                torch.stack(list(named.values())).detach(),
                replicated(norm).detach(),
            )
        )

    def _read_numbers(self) -> None:
        """Look at the steps since the last time: stop if one was not finite, and log their mean."""
        done, self.unread = self.unread, []
        for step in done:
            step.check()
        values = {}
        for name in dict.fromkeys(name for step in done for name in step.names):
            having = [step for step in done if name in step.names]
            total = self.team.sum(torch.stack([step.of(name) for step in having]).sum())
            values[name] = total.item() / sum(step.scenes for step in having)
        norm = sum(step.norm.item() for step in done) / len(done)
        rate = learning_rate(self.options, self.state.step - 1)
        self.journal.write_step(self.state.step, {**values, "gradient_norm": norm, "rate": rate})

    def _checkpoint(self) -> None:
        if self.unread:
            self._read_numbers()
        self.state.save(self.folder.checkpoint(self.state.step), self.options, self.team)
        if self.team.leads:
            self.folder.prune_checkpoints(self.options.keep_checkpoints)

    def _validate(self, source: Source) -> None:
        found = self.objective.validate(self.state.averaged_reader, source, self.evaluators, self.team.device)
        self.journal.write(self.state.step, found.scores)
        for name, picture in found.pictures.items():
            self.journal.write_picture(self.state.step, name, picture)

    def _write_model(self) -> None:
        tensors = {name: whole(tensor) for name, tensor in self.state.averaged.state_dict().items()}
        if self.team.leads:
            network = build(self.state.averaged.config)
            network.load_state_dict(tensors, assign=True)
            checkpoint.save(network, self.folder.model, name=self.options.name)
        self.team.wait()


@dataclass(frozen=True)
class _Done:
    """What a step leaves behind to be looked at."""

    sample: Sample
    """This process' share."""
    scenes: int
    """Of all processes."""
    names: tuple[str, ...]
    losses: Float[Tensor, "names batch"]
    norm: Float[Tensor, ""]

    def of(self, name: str) -> Float[Tensor, ""]:
        """Sum a term over the scenes."""
        return self.losses[self.names.index(name)].sum()

    def check(self) -> None:
        finite = self.losses.isfinite().all(0).tolist()
        guilty = [str(index) for index, good in zip(self.sample.indices, finite, strict=True) if not good]
        if guilty:
            raise NotFiniteError(f"the loss of scene {', '.join(guilty)} is not finite ({self.sample})")
        if not self.norm.isfinite():
            raise NotFiniteError(f"the gradient is not finite ({self.sample})")


def batches_ahead(
    load: Callable[[Sample], TrueViews], samples: Iterable[Sample], ahead: int
) -> Iterator[tuple[Sample, TrueViews]]:
    """Load samples in order, up to ``ahead`` of them on a thread before they are asked for."""
    if ahead == 0:
        yield from ((sample, load(sample)) for sample in samples)
        return
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting: deque[tuple[Sample, Future[TrueViews]]] = deque()
        try:
            for sample in samples:
                waiting.append((sample, pool.submit(load, sample)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            for _, future in waiting:
                future.cancel()


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or SIGTERM came; a second Ctrl-C interrupts at once.

    Signals reach the main thread only; on another thread nothing is caught.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def ask(number: int, frame: object) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
