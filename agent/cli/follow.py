"""Following a run that trains in a process of its own: watching only, so leaving never stops it."""

import time

from agent.cli.progress import progress_bar
from trainer_core.run_folder import LIVE_STATES, RunFolder, RunStatus

POLL_S = 0.5


def follow(run: RunFolder) -> RunStatus:
    """Draw the run's progress until it ends; return its last status."""
    with progress_bar() as report:
        while True:
            status = run.read_status()
            if status.state not in LIVE_STATES:
                return status
            report(status.stage or f"training {run.id}", status.step, status.steps)
            time.sleep(POLL_S)
