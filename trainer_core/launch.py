"""The training process: `python -P -m trainer_core.launch RUN_FOLDER`. Encodes what is missing, then trains.

Everything it has to say goes into the run folder; whoever started it may be long gone.
"""

import contextlib
import os
import sys
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

from trainer_core.config import TrainingConfig
from trainer_core.errors import LtxError, TrainingError
from trainer_core.lease import TrainingLease
from trainer_core.resume_config import run_config
from trainer_core.run_folder import RunFolder, RunState, RunStatus
from trainer_core.summary import write_summary
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.stop import StopRequest, TrainingStopped


def main() -> int:
    """Run the training of the folder named on the command line; the exit code says how it ended."""
    if len(sys.argv) != 2:
        print("usage: python -P -m trainer_core.launch RUN_FOLDER", file=sys.stderr)
        return 2
    return launch(RunFolder(Path(sys.argv[1]).absolute()))


def launch(run: RunFolder) -> int:
    """Encode and train, from where the run stands; status.json tells how far it got, and why it ended."""
    writes = _rank() == 0
    try:
        with TrainingLease(run.lease_path) if writes else nullcontext(), StopRequest(run) as stop:
            return _supervised(run, stop, writes)
    except LtxError as error:  # before there is a status of its own to write to: another process trains here
        _say(str(error))
        return error.exit_code


def _supervised(run: RunFolder, stop: StopRequest, writes: bool) -> int:
    config = run_config(run)
    with StatusKeeper(run, _first_status(run, config.optimization.steps), writes=writes) as keeper:
        code = 0
        try:
            _encode_and_train(config, run, keeper, stop)
        except TrainingStopped:
            keeper.update(state="done", stage="stopped", eta_s=0.0)
        except LtxError as error:
            state: RunState = "diverged" if isinstance(error, TrainingError) else "failed"
            _record_end(keeper, state, str(error))
            _say(str(error))
            code = error.exit_code
        except BaseException as error:
            _record_end(keeper, "failed", f"{type(error).__name__}: {error}")
            with contextlib.suppress(OSError):
                traceback.print_exc()
            code = 130 if isinstance(error, KeyboardInterrupt) else 5
        keeper.update(finished_at=time.time())
        with contextlib.suppress(LtxError):  # a full disk or a vanished folder: the exit code still tells
            keeper.record("ended", state=keeper.status.state, step=keeper.status.step)
            if writes and run.path.is_dir():
                write_summary(run, config, keeper.status)
    return code


def _encode_and_train(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper, stop: StopRequest) -> None:
    if config.validation.samples:
        from trainer_core.sampling.validation import check_samples

        check_samples(config)
    if config.ltx_agent.dataset is not None:
        from trainer_core.data.encoding.encode import encode_dataset

        def report(what: str, done: int, total: int) -> None:
            keeper.update(stage=f"encoding {what} {done}/{total}")
            stop.check()

        summary = encode_dataset(config, report, lambda said: keeper.record("encoding", message=said))
        counts = {"samples": summary.samples, "encoded": summary.encoded, "reused": summary.reused}
        keeper.record("encoded", **counts, reasons=summary.reasons)
    if config.validation.samples and _rank() == 0:
        # the text encoder and the VAEs are needed before the transformer fills the memory
        from trainer_core.sampling.validation import prepare_samples_early

        prepare_samples_early(config, run, keeper)
    keeper.update(stage="loading the model")
    from trainer_core.training.loop import train

    train(config, run, keeper, stop)


def _first_status(run: RunFolder, steps: int) -> RunStatus:
    """A status of this process; what earlier ones of this run reached stays known."""
    before = run.read_status() if run.status_path.exists() else RunStatus("queued")
    return RunStatus(
        "starting",
        step=before.step,
        steps=steps,
        stage="encoding",
        started_at=before.started_at or time.time(),
        last_checkpoint=before.last_checkpoint,
        best_checkpoint=before.best_checkpoint,
        verdict=before.verdict,
    )


def _record_end(keeper: StatusKeeper, state: RunState, error: str) -> None:
    keeper.update(state=state, error=error, eta_s=None, eta_parts_s=None)
    with contextlib.suppress(LtxError):
        keeper.record("failed", error=error)


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # the terminal may be long gone
        print(text, file=sys.stderr, flush=True)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


if __name__ == "__main__":
    sys.exit(main())
