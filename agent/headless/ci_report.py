"""Reports of a headless run for CI: a Markdown summary, the data's problems as JUnit or SARIF; names are escaped."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tools.draft.coverage import read_coverage
from tools.draft.plan import code_span
from tools.inspect.discover.names import displayed
from tools.inspect.report.report import Clip, Report
from tools.plain_text import plain_text
from tools.project import Project
from trainer_core.errors import LtxError
from trainer_core.files import read_json, write_json, write_text
from trainer_core.units import counted

_LEVELS = {"block": "error", "warn": "warning", "note": "note"}
LEFT_OUT = "left_out"
"""The rule of a usable clip that the plan does not train on."""
SHOWN_CLIPS = 50
_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def write_summary(path: Path, project: Project, result: dict[str, Any]) -> None:
    """Append the summary to `path`: CI pages collect several in one file."""
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    write_text(path, before + summary_text(project, result))


def summary_text(project: Project, result: dict[str, Any]) -> str:
    """Return the Markdown summary of a result event."""
    code = result["exit_code"]
    lines = [f"# ltx-agent: {'done' if code == 0 else f'exit code {code}'}", ""]
    if result.get("error"):
        lines += [f"**{_plain(result['error']['message'])}** {_plain(result['error']['hint'])}", ""]
    lines += _run_lines(result) + _plan_lines(project) + _data_lines(project)
    if result["artifacts"]:
        lines += ["## Files", "", *(f"- {name}: {code_span(file)}" for name, file in result["artifacts"].items()), ""]
    return "\n".join(lines) + "\n"


def write_junit(path: Path, project: Project) -> None:
    """One test case a clip: it fails when the clip can't be used, is skipped when the plan leaves it out, and names its
    warnings."""
    suite = ElementTree.Element("testsuite", name="ltx-agent data")
    failures = skipped = 0
    coverage = read_coverage(project)
    clips = [clip for clip in _report_clips(project) if clip.kind != "other"]
    for clip in clips:
        case = ElementTree.SubElement(suite, "testcase", classname="clips", name=displayed(clip.path))
        blocking = [flag for flag in clip.flags if flag.severity == "block"]
        if blocking:
            failures += 1
            failure = ElementTree.SubElement(case, "failure", type=blocking[0].id, message=_plain(blocking[0].message))
            failure.text = "\n".join(_plain(f"{flag.message} {flag.remedy}") for flag in blocking)
        elif coverage is not None and (reason := coverage.reason_of(clip)) is not None:
            skipped += 1
            ElementTree.SubElement(case, "skipped", message=_plain(f"It does not train: {reason}."))
        others = [flag for flag in clip.flags if flag.severity != "block"]
        if others:
            ElementTree.SubElement(case, "system-out").text = "\n".join(
                _plain(f"{flag.severity}: {flag.id}: {flag.message} {flag.remedy}") for flag in others
            )
    suite.set("tests", str(len(clips)))
    suite.set("failures", str(failures))
    suite.set("skipped", str(skipped))
    write_text(path, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def write_sarif(path: Path, project: Project) -> None:
    """One result a flag (block is an error, warn a warning, note a note), and a note for each clip that is left out."""
    clips = _report_clips(project)
    coverage = read_coverage(project)
    found: list[tuple[Clip, str, str, str]] = [
        (clip, flag.id, _LEVELS[flag.severity], f"{flag.message} {flag.remedy}")
        for clip in clips
        for flag in clip.flags
    ]
    found += [
        (clip, LEFT_OUT, "note", f"It does not train: {reason}.")
        for clip in clips
        if coverage is not None
        and (reason := coverage.reason_of(clip)) is not None
        and all(flag.severity != "block" for flag in clip.flags)
    ]
    rules = sorted({rule for _, rule, _, _ in found})
    results = [
        {
            "ruleId": rule,
            "level": level,
            "message": {"text": _plain(message)},
            "locations": [{"physicalLocation": {"artifactLocation": {"uri": Path(displayed(clip.path)).as_posix()}}}],
        }
        for clip, rule, level, message in found
    ]
    driver = {"name": "ltx-agent", "rules": [{"id": rule, "shortDescription": {"text": rule}} for rule in rules]}
    write_json(
        path, {"$schema": _SARIF, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}
    )


def _run_lines(result: dict[str, Any]) -> list[str]:
    if not result.get("run"):
        return ["No run was started.", ""]
    lines = [f"## Run {code_span(result['run'])}", ""]
    verdict = result.get("verdict")
    if verdict:
        lines.append(f"Verdict: **{verdict['kind']}** (confidence {verdict['confidence']:.0%})")
        lines += ["", *(f"- {_plain(evidence)}" for evidence in verdict["evidence"])]
    return [*lines, ""]


def _plan_lines(project: Project) -> list[str]:
    from agent.turn.state_block import plan_of

    plan = plan_of(project)
    if not plan:
        return []
    rows = [f"| {name.replace('_', ' ')} | {code_span(str(value))} |" for name, value in plan.items()]
    return ["## Plan", "", "| value | |", "| --- | --- |", *rows, ""]


def _data_lines(project: Project) -> list[str]:
    clips = [clip for clip in _report_clips(project) if clip.kind != "other"]
    if not clips:
        return []
    usable = sum(clip.status in ("ok", "flagged") for clip in clips)
    coverage = read_coverage(project)
    lines = ["## Data", "", f"{usable} of {counted(len(clips), 'clip')} can be used.", ""]
    if coverage is not None:
        lines += [f"The plan trains on {_plain(coverage.sentence)}.", ""]
        left_out = [one for one in coverage.left_out if one.reason]
        lines += [f"- {code_span(one.path)} does not train: {_plain(one.reason)}" for one in left_out[:SHOWN_CLIPS]]
        if len(left_out) > SHOWN_CLIPS:
            lines.append(f"- and {len(left_out) - SHOWN_CLIPS} more in plan.md")
        lines += [""] if left_out else []
    flagged = [(clip, flag) for clip in clips for flag in clip.flags if flag.severity != "note"]
    if flagged:
        lines += ["| clip | | problem | remedy |", "| --- | --- | --- | --- |"]
        lines += [
            f"| {_cell(code_span(clip.path))} | {flag.severity} | {_cell(flag.message)} | {_cell(flag.remedy)} |"
            for clip, flag in flagged[:SHOWN_CLIPS]
        ]
        if len(flagged) > SHOWN_CLIPS:
            lines.append(f"\n… and {len(flagged) - SHOWN_CLIPS} more in report.html.")
    return [*lines, ""]


def _report_clips(project: Project) -> list[Clip]:
    if not project.report_path.exists():
        return []
    try:
        return Report.model_validate(read_json(project.report_path)).clips
    except (LtxError, ValueError):
        return []


def _plain(text: str) -> str:
    return plain_text(text).replace("<", "&lt;")


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|")


def event_line(event: dict[str, Any]) -> str:
    """One event as a line of JSON; ASCII escapes carry names of any bytes."""
    return json.dumps(event, default=str)
