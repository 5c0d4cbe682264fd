"""What a person missed is told when they come back, and nothing on a first visit."""

from agent.ui.shared.last_visit import LastVisit
from agent.ui.shared.watch import TROUBLE
from tools.project import Project
from trainer_core.run_folder import RunFolder, RunStatus


def test_a_run_that_was_there_at_the_last_visit_is_no_news(finished: Project) -> None:
    runs = finished.runs()
    assert len(runs) > 1
    first = LastVisit(finished)
    first.missed(runs, TROUBLE.search)
    first.note({runs[-1].id: "done"})  # the one run that was on the screen
    second = LastVisit(finished)
    assert second.missed(runs, TROUBLE.search) == []
    second.note({runs[-1].id: "done"})
    assert LastVisit(finished).missed(runs, TROUBLE.search) == []


def test_a_run_that_ended_and_its_troubles_are_told_once(finished: Project) -> None:
    run = RunFolder(finished.runs_path / "20260103-100000")
    run.path.mkdir(parents=True)
    run.write_status(RunStatus("failed", step=7, steps=50, error="The disk is full."))
    first = LastVisit(finished)
    assert first.missed([run], TROUBLE.search) == []
    first.note({run.id: "running"})
    run.record_event("checkpoint", step=5)
    run.record_event("out of memory", step=7, message="The batch is too large.")
    lines = LastVisit(finished).missed([run], TROUBLE.search)
    assert lines == [
        f"Run {run.id} is failed at step 7 of 50. The disk is full.",
        f"Run {run.id}, step 7: out of memory. The batch is too large.",
    ]
    LastVisit(finished).note({run.id: "failed"})
    assert LastVisit(finished).missed([run], TROUBLE.search) == []
