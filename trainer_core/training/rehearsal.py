"""A rehearsal's child: `python -P -m trainer_core.training.rehearsal FOLDER`. One training in small, measured.

FOLDER holds config.yaml. The largest sample of its data goes once through everything: forward, backward, optimizer,
evaluation, sampling, save. What was measured goes to FOLDER/result.json; nothing else is left behind.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from itertools import repeat
from pathlib import Path

import torch

from trainer_core.config import TrainingConfig, load_config
from trainer_core.errors import LtxError
from trainer_core.files import write_json
from trainer_core.memory.ladder import ENCODING_STAGE
from trainer_core.memory.limit import memory_limit, ran_out_of_memory
from trainer_core.memory.live import LiveBytes
from trainer_core.run_folder import RunStatus, create_run_folder
from trainer_core.training.checkpointing.save import save
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.optimizer_step import optimize, prepare_step
from trainer_core.training.setup import TrainingSession, set_up
from trainer_core.training.step import losses_of
from trainer_core.training.worst_batch import worst_data

TIMED_STEPS = 3


@dataclass
class StageMeasure:
    """Peaks of one stage in bytes; None where this machine has no such figure. `host` is resident memory."""

    name: str
    seconds: float
    allocated: int | None
    reserved: int | None
    driver: int | None
    tensors: int | None
    host: int


@dataclass
class RehearsalResult:
    """Result of a rehearsal. `ran_out` names the stage in which memory ran out; `error` anything else that ended it."""

    device: str
    sample: str
    real_sample: bool
    stages: list[StageMeasure] = field(default_factory=list)
    step_s: float | None = None
    ran_out: str | None = None
    error: str | None = None
    not_measured: list[str] = field(default_factory=list)


class _Gauge:
    """Reads the peaks of a stage: the allocator's and the driver's on a card, counted tensors without one."""

    def __init__(self, device: torch.device, result: RehearsalResult) -> None:
        self._device, self._result = device, result
        self.stage = "loading"

    @contextmanager
    def measuring(self, name: str, session: TrainingSession | None) -> Iterator[None]:
        self.stage = name
        cuda = self._device.type == "cuda"
        counted = LiveBytes() if session is not None and not cuda else None
        if counted is not None and session is not None:
            counted.hold(*session.model.parameters(), *session.model.buffers())
        if cuda:
            torch.cuda.reset_peak_memory_stats(self._device)
        _reset_resident_peak()
        started = time.perf_counter()
        with counted if counted is not None else nullcontext():
            yield
        if cuda:
            torch.cuda.synchronize(self._device)
        self._result.stages.append(
            StageMeasure(
                name=name,
                seconds=time.perf_counter() - started,
                allocated=torch.cuda.max_memory_allocated(self._device) if cuda else None,
                reserved=torch.cuda.max_memory_reserved(self._device) if cuda else None,
                driver=driver_peak_bytes(self._device) if cuda else None,
                tensors=counted.peak if counted is not None else None,
                host=resident_peak_bytes(),
            )
        )


def rehearse(config: TrainingConfig, folder: Path) -> RehearsalResult:
    """Rehearse `config` (paths absolute) with `folder` for what it writes."""
    small, sample, real = worst_data(config, folder)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU: the CPU"
    result = RehearsalResult(device=name, sample=sample, real_sample=real)
    if device.type != "cuda":
        result.not_measured = [
            "device memory: what a card's allocator would hold is estimated by arithmetic, see plan-memory",
            "the step time of a card",
        ]
    gauge = _Gauge(device, result)
    run = create_run_folder(folder / "runs")
    try:
        with StatusKeeper(run, RunStatus("running")) as keeper:
            if small.validation.samples:
                from trainer_core.sampling.validation import prepare_samples_early

                with gauge.measuring(ENCODING_STAGE, None):  # as a run does, before the transformer is there
                    prepare_samples_early(small, run, keeper)
            with gauge.measuring("loading", None):
                session = set_up(small, run)
            with memory_limit(config.ltx_agent.memory.limit_gb, session):
                _stages(session, keeper, gauge, result)
    except Exception as error:
        if ran_out_of_memory(error):
            result.ran_out = gauge.stage
        else:
            said = str(error) if isinstance(error, LtxError) else f"{type(error).__name__}: {error}"
            result.error = f"{gauge.stage}: {said}"
    return result


def _stages(session: TrainingSession, keeper: StatusKeeper, gauge: _Gauge, result: RehearsalResult) -> None:
    one = prepare_step(session, session.stream[0])
    ready = repeat(one)
    with gauge.measuring("training step", session):
        optimize(session, ready, 0)
    seconds = []
    for step in range(1, 1 + TIMED_STEPS):
        started = time.perf_counter()
        optimize(session, ready, step)
        seconds.append(time.perf_counter() - started)
    result.step_s = sorted(seconds)[len(seconds) // 2]
    with gauge.measuring("evaluation", session), torch.no_grad(), session.autocast():
        losses_of(session.model, session.connectors, one)
    if session.config.validation.samples:
        from trainer_core.sampling.validation import rehearse_samples

        with gauge.measuring("sampling", session):
            rehearse_samples(session, keeper)
    with gauge.measuring("saving", session):
        save(session, session.step, keeper)


def driver_peak_bytes(device: torch.device) -> int:
    """The most that the driver saw in use of this card since the peaks were reset, other processes included.

    It tells only what is in use now; of that the allocator may have given back what it held at its peak.
    """
    free, total = torch.cuda.mem_get_info(device)
    return total - free + torch.cuda.max_memory_reserved(device) - torch.cuda.memory_reserved(device)


def resident_peak_bytes() -> int:
    """The most resident memory since the last reset where the kernel tells, else since the process began."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_resident_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # the peak since the start then stands for the stage's
        return


def main() -> int:
    """Rehearse the folder named on the command line."""
    if len(sys.argv) != 2:
        print("usage: python -P -m trainer_core.training.rehearsal FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1]).absolute()
    result = rehearse(load_config(folder / "config.yaml"), folder)
    write_json(folder / "result.json", asdict(result))
    gc.collect()
    print(json.dumps({"ran_out": result.ran_out, "error": result.error}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
