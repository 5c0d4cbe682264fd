"""The training process: `python -P -m trainer_core.launch RUN_FOLDER`. Encodes what is missing, then trains.

Everything it has to say goes into the run folder; whoever started it may be long gone.
"""

import os
import sys
import time
import traceback
from pathlib import Path

from trainer_core.config import TrainingConfig, load_config
from trainer_core.errors import LtxError, TrainingError
from trainer_core.run_folder import RunFolder, RunStatus
from trainer_core.training.keeper import StatusKeeper


def main() -> int:
    """Run the training of the folder named on the command line; the exit code says how it ended."""
    if len(sys.argv) != 2:
        print("usage: python -P -m trainer_core.launch RUN_FOLDER", file=sys.stderr)
        return 2
    return launch(RunFolder(Path(sys.argv[1]).absolute()))


def launch(run: RunFolder) -> int:
    """Encode and train; status.json tells how far it got, and why it ended."""
    config = load_config(run.config_path)
    status = RunStatus("starting", steps=config.optimization.steps, stage="encoding", started_at=time.time())
    with StatusKeeper(run, status, writes=_rank() == 0) as keeper:
        try:
            _encode_and_train(config, run, keeper)
        except LtxError as error:
            keeper.update(
                state="diverged" if isinstance(error, TrainingError) else "failed", error=str(error), eta_s=None
            )
            keeper.record("failed", error=str(error))
            print(error, file=sys.stderr, flush=True)
            code = error.exit_code
        except BaseException as error:
            keeper.update(state="failed", error=f"{type(error).__name__}: {error}", eta_s=None)
            keeper.record("failed", error=f"{type(error).__name__}: {error}")
            traceback.print_exc()
            code = 5
        else:
            code = 0
        keeper.update(finished_at=time.time())
        keeper.record("ended", state=keeper.status.state, step=keeper.status.step)
    return code


def _encode_and_train(config: TrainingConfig, run: RunFolder, keeper: StatusKeeper) -> None:
    # several ranks train on what `ltx-agent encode` made before: encoding is one process's work
    if config.ltx_agent.dataset is not None and "WORLD_SIZE" not in os.environ:
        from trainer_core.data.encode import encode_dataset

        def report(what: str, done: int, total: int) -> None:
            keeper.update(stage=f"encoding {what} {done}/{total}")

        summary = encode_dataset(config, report)
        keeper.record("encoded", samples=summary.samples, encoded=summary.encoded, reused=summary.reused)
    if config.validation.samples and _rank() == 0:
        # the text encoder and the VAEs are needed before the transformer fills the memory
        from trainer_core.sampling.validation import prepare_samples_early

        prepare_samples_early(config, run, keeper)
    keeper.update(stage="loading the model")
    from trainer_core.training.loop import train

    train(config, run, keeper)


def _rank() -> int:
    return int(os.environ.get("RANK", "0"))


if __name__ == "__main__":
    sys.exit(main())
