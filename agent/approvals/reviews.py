"""The user's reviews before work goes on; a review is bound to what was seen and lapses when that changes."""

import hashlib

from agent.approvals import cards
from agent.session.events import Approval
from agent.state import AgentState, Stage
from tools.project import Project

REVIEWS: dict[Stage, tuple[Approval, ...]] = {"caption": ("captions",), "draft": ("inputs", "plan")}
"""What a person looks at before the stage after this one begins."""


def is_approved(approval: str, state: AgentState, project: Project) -> bool:
    """Whether this was approved and its file is still as the person saw it."""
    fingerprint = fingerprint_of(approval, project)
    return not fingerprint or state["approvals"].get(approval) == fingerprint


def missing_review(stage: Stage, state: AgentState, project: Project) -> Approval | None:
    """The first review this stage ends with that the person has not given; None when all are given."""
    return next((name for name in REVIEWS.get(stage, ()) if not is_approved(name, state, project)), None)


def unreviewed(state: AgentState, project: Project) -> list[str]:
    """The reviews that were not given for the files as they now are."""
    names = [name for reviews in REVIEWS.values() for name in reviews]
    return [name for name in names if not is_approved(name, state, project)]


def fingerprint_of(approval: str, project: Project) -> str:
    """What a review is good for: the very content the person saw. Empty: there is nothing to review."""
    if approval == "inputs":
        return cards.inputs_fingerprint(project)
    path = project.captions_path if approval == "captions" else project.config_path
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else "no file"
