"""A verdict in a filmmaker's words, with what to do about it; its figures and tests stand elsewhere."""

from typing import Any

from trainer_core.run_folder import LIVE_STATES

_LEAST_MORE = 100


def verdict_words(status: dict[str, Any]) -> str:
    """Return one or two sentences: what the run's figures come to, and what to do next."""
    verdict = status.get("verdict") or {"kind": "unsure", "evidence": []}
    live = status["state"] in LIVE_STATES
    words = (_WHILE_IT_RUNS if live else _AFTERWARDS).get(verdict["kind"], _UNSURE)
    return words.format(
        error=_error_of(status),
        left=max(0, status["steps"] - status["step"]),
        more=more_steps(status["steps"]),
        best=_best(verdict),
    )


def more_steps(steps: int) -> int:
    """Half as many steps again, in hundreds: enough for a trend to show, little enough to stop at."""
    return max(_LEAST_MORE, int(round(steps / 2, -2)))


def _error_of(status: dict[str, Any]) -> str:
    """The error that was judged: on held-out clips once there are evaluations enough, else on the training clips."""
    evidence = (status.get("verdict") or {}).get("evidence", [])
    return "held-out error" if any(one.startswith("held-out") for one in evidence) else "training error"


def _best(verdict: dict[str, Any]) -> str:
    step = verdict.get("best_step")
    return f"the checkpoint of step {step}" if step else "an earlier checkpoint"


_UNSURE = "It is too early to tell whether it learns: the figures move less than chance moves them."
_WHILE_IT_RUNS = {
    "continue": "It is learning: the {error} is still falling. Let it go on; {left} steps are left.",
    "plateau": "It has learned what this plan teaches it: the {error} has stopped falling. Stopping now costs little.",
    "overfitting": "It begins to copy your clips: the error on clips it never saw is rising. Stop, and use {best}.",
    "diverging": 'It is going wrong: the {error} is rising. Say "stop", then start again with half the learning rate.',
    "dead": "It learns nothing: no weight that matters moves. Stop it; the plan or the data needs a change.",
}
_AFTERWARDS = {
    "continue": "It was still learning when it ended: the {error} was falling. Give it {more} more steps.",
    "plateau": "It has learned what this plan teaches it: the {error} had stopped falling. More steps would "
    "change little.",
    "overfitting": "It came to copy your clips: the error on clips it never saw was rising. Use {best}.",
    "diverging": "It went wrong: the {error} was rising. Start again with half the learning rate.",
    "dead": "It learned nothing: no weight that matters moved. The plan or the data needs a change.",
}
