"""A run's status in a few lines of plain text, from what `run_status` returned."""

from pathlib import Path
from typing import Any

from agent.text.verdict import verdict_words
from trainer_core.run_folder import LIVE_STATES
from trainer_core.units import duration_text

SHOWN_ALERTS = 3
FOLDED = 'The figures and tests behind it: say "details", or `ltx-agent status --verbose`.'
_STATES = {
    "queued": "is waiting to start",
    "starting": "is starting",
    "running": "is training",
    "stopping": "is stopping",
    "done": "is done",
    "failed": "failed",
    "diverged": "diverged and was stopped",
}


def run_lines(status: dict[str, Any], *, verbose: bool = False) -> list[str]:
    """Return state, step, time left, the verdict in plain words, alerts, and where the adapter is.

    `verbose` adds the figures and the tests behind the verdict; without it a last line says how to see them.
    """
    lines = [_state_line(status)]
    if status.get("error"):
        lines.append(f"Error: {status['error']}")
    if status.get("verdict"):
        lines.append(verdict_words(status))
    if verbose:
        lines += figure_lines(status)
    for alert in (status.get("alerts") or [])[-SHOWN_ALERTS:]:
        lines.append(f"Alert ({alert['kind']}): {alert['message']}")
        lines.extend(_offered(alert, status["state"]))
    if status.get("best_checkpoint"):
        lines.append(f"Best by held-out loss: {status['path']}/{status['best_checkpoint']}")
    if status.get("last_checkpoint"):
        lines.append(f"Adapter: {status['path']}/{status['last_checkpoint']}")
    if status.get("samples_page"):
        lines.append(f"Samples: {status['path']}/{status['samples_page']}")
    return lines if verbose else [*lines, FOLDED]


def figure_lines(status: dict[str, Any]) -> list[str]:
    """Return losses, speed, held-out losses, and the verdict's kind with its evidence."""
    lines = []
    losses = status.get("losses") or {}
    if losses:
        curves = ", ".join(f"{name} {loss['first']:.3f} → {loss['last']:.3f}" for name, loss in losses.items())
        lines.append(f"Training loss (running median, first → last): {curves}.")
    lines += [f"Speed: {remark}." for remark in status.get("speed") or []]
    heldout = status.get("heldout")
    if heldout:
        shown = "; ".join(
            f"{part} {', '.join(f'{name} {value:.3f}' for name, value in heldout[key].items() if value is not None)}"
            for key, part in (("heldout", "held-out clips"), ("train", "training clips"))
        )
        lines.append(f"Fixed-noise loss relative to step 0, at step {heldout['step']}: {shown}.")
    verdict = status.get("verdict")
    if verdict:
        lines.append(f"Verdict: {verdict['kind']} (confidence {verdict['confidence']:.0%}).")
        lines.extend(f"  – {evidence}" for evidence in verdict["evidence"])
    return lines


def quality_lines(status: dict[str, Any]) -> list[str]:
    """Answer "is it any good?": what the figures say, and that only looking tells the rest."""
    lines = [verdict_words(status)]
    if status.get("samples_page"):
        lines.append(f"Look at what it makes: {status['path']}/{status['samples_page']}")
    elif status.get("last_checkpoint"):
        lines.append('Say "show me some samples" to see what it makes, with the adapter and without.')
    return [*lines, "Whether it is good to your eye, no number says. " + FOLDED]


def _state_line(status: dict[str, Any]) -> str:
    state = _STATES.get(status["state"], status["state"])
    line = f"Run {status['run']} {state}: step {status['step']} of {status['steps']}.{_time_left(status)}"
    if status.get("stage") and status["state"] in LIVE_STATES:
        line += f" Now: {status['stage']}."
    return line


def resume_lines(result: dict[str, Any]) -> list[str]:
    """Return where a resumed run goes on, what was restored, and what its changes override."""
    if result["error"]:
        return [f"Run {result['run']} {result['state']}: {result['error']}"]
    if not result["restored"]:
        return [f"Run {result['run']} starts at step 0: it had no complete checkpoint yet."]
    lines = [
        f"Run {result['run']} goes on at step {result['from_step']} of {result['steps']}.",
        f"Restored: {', '.join(result['restored'])}.",
    ]
    lines += [f"Overridden: {change}." for change in result["overridden"]]
    if result["set_aside"]:
        lines.append(f"Set aside, not deleted: {len(result['set_aside'])} file(s) of later steps, in set-aside/.")
    return lines


def diagnosis_lines(found: dict[str, Any]) -> list[str]:
    """Return the verdict, its evidence, and each branch in a line."""
    lines = [f"{Path(found['file']).name}: {found['verdict']}."]
    lines += [f"  – {evidence}" for evidence in found["evidence"]]
    for branch, ratios in found["branches"].items():
        if ratios["mean_ratio"] is not None:
            lines.append(
                f"{branch}: ‖ΔW‖/‖W‖ {ratios['mean_ratio']:.2%} on average, at most {ratios['max_ratio']:.2%}."
            )
    if found["base"]:
        lines.append(f"Base: {found['base']}.")
    else:
        lines.append("The base is not known, so ‖ΔW‖ can't be related to it: name it with --model.")
    if found["picture"]:
        lines.append(f"Picture: {found['picture']}")
    return lines


def comparison_lines(found: dict[str, Any]) -> list[str]:
    """Return how alike two adapters are, a line a branch."""
    lines = [f"{Path(found['first']).name} and {Path(found['second']).name}:"]
    for branch, one in found["branches"].items():
        alike = "no direction" if one["cosine"] is None else f"cosine {one['cosine']:+.3f}"
        size = "" if one["norm_ratio"] is None else f", the second {one['norm_ratio']:.2f} times as large"
        lines.append(f"{branch}: {one['modules']} shared modules, {alike}{size}.")
    for side, word in (("only_first", "first"), ("only_second", "second")):
        if found[side]:
            lines.append(f"Only in the {word}: {len(found[side])} modules, such as {found[side][0]}.")
    if found["least_alike"]:
        lines.append(f"Least alike: {'; '.join(found['least_alike'])}.")
    return lines


def advice_lines(status: dict[str, Any]) -> list[str]:
    """Answer "should I stop?": what the verdict means for that; the choice stays the user's."""
    verdict = status.get("verdict") or {"kind": "unsure", "confidence": 0.0, "evidence": []}
    if status["state"] not in LIVE_STATES:
        lines = [f"There is nothing to stop: run {status['run']} {_STATES.get(status['state'], status['state'])}."]
    else:
        lines = [_ADVICE.get(verdict["kind"], _ADVICE["unsure"]).format(**status)]
    lines.append(verdict_words(status))
    if status.get("best_checkpoint"):
        lines.append(f"Best checkpoint so far: {status['best_checkpoint']}.")
    lines.append("Stopping saves first, so nothing that was trained is lost. Whether it pleases you, no number says.")
    return [*lines, FOLDED]


def speed_lines(status: dict[str, Any]) -> list[str]:
    """Answer "why is it slow?": where a step's time goes."""
    step_s = dict(status.get("step_s") or {})
    whole = step_s.pop("whole", None)
    if not whole:
        return [f"Run {status['run']} has made no step that could be timed yet.", *run_lines(status)[:1]]
    parts = sorted(step_s.items(), key=lambda part: -part[1])
    shares = ", ".join(f"{name} {seconds:.2g} s ({seconds / whole:.0%})" for name, seconds in parts)
    lines = [f"A step takes {whole:.3g} s (median of the latest): {shares}.{_time_left(status)}"]
    if parts:
        lines.append(_SLOWEST.get(parts[0][0], "Most of it is the model's own arithmetic."))
    return lines


def best_lines(status: dict[str, Any]) -> list[str]:
    """Answer "which checkpoint is best?" and "where is my adapter?"."""
    last, best = status.get("last_checkpoint"), status.get("best_checkpoint")
    if not last and not best:
        return [
            f"Run {status['run']} has saved no checkpoint yet: it is at step {status['step']} of {status['steps']}."
        ]
    lines = []
    if best:
        lines.append(f"Best by held-out loss: {status['path']}/{best}")
    if last and last != best:
        lines.append(f"Last: {status['path']}/{last}")
    if not best:
        lines.append("None is marked best: that takes a held-out loss.")
    return lines


_ADVICE = {
    "continue": "The figures say go on: the loss is still falling at step {step} of {steps}.",
    "plateau": "The figures say stopping costs little: the loss has stopped falling at step {step} of {steps}.",
    "overfitting": "The figures say stop: the held-out loss rises, so later checkpoints are likely worse.",
    "diverging": "The figures say stop: the loss is rising at step {step} of {steps}.",
    "dead": "The figures say stop: nothing is being learned.",
    "unsure": "The figures don't tell yet at step {step} of {steps}: waiting costs time, stopping loses nothing.",
}
_SLOWEST = {
    "data": "Most of it is waiting for data: more dataloader workers or a faster disk would help.",
    "forward": "Most of it is the model's forward pass: fewer frames or a smaller picture a sample make it shorter.",
    "backward": "Most of it is the backward pass; with gradient checkpointing it includes the forward pass once more.",
    "optimizer": "Most of it is the optimizer's update: a LoRA of lower rank, or an 8-bit optimizer, makes it shorter.",
}


def _time_left(status: dict[str, Any]) -> str:
    eta_s = status.get("eta_s")
    if not eta_s:
        return ""
    others = {
        name: left for name, left in (status.get("eta_parts_s") or {}).items() if name != "training" and left >= 1
    }
    besides = f", of it {', '.join(f'{name} {duration_text(left)}' for name, left in others.items())}" if others else ""
    return f" About {duration_text(eta_s)} left{besides}."


def _offered(alert: dict[str, Any], state: str) -> list[str]:
    """What the trainer offers to do about an alert, with its diff; nothing once the run went on without it."""
    if not alert.get("command"):
        return []
    if alert["kind"] != "out of memory":
        return [f"  To go back before it: {alert['command']}"]
    if state != "failed":
        return ["  The run went on since."]
    changed = [line for line in (alert.get("diff") or "").splitlines() if line[:1] in "+-" and line[:3] not in _HEADS]
    return [*(f"    {line}" for line in changed), f"  To go on with this: {alert['command']}"]


_HEADS = ("+++", "---")
