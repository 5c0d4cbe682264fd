"""The inspection tool: look at every clip, write report.json and report.html, and say what was found."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import Field

from tools.inspect.discover.metadata import remark_on_columns
from tools.inspect.discover.names import displayed
from tools.inspect.discover.sources import find_files
from tools.inspect.inputs.ledger import with_inputs
from tools.inspect.remedies.ledger import with_copies, with_replaced
from tools.inspect.report.build_report import assemble, report_buckets
from tools.inspect.report.page.clip_card import ClipPreviews
from tools.inspect.report.page.page import render_page
from tools.inspect.report.report import Clip, Report, Seconds
from tools.inspect.report.report_cache import fingerprint, keep_result, result_kept
from tools.inspect.scan.scan_all import look_at_all
from tools.inspect.scan.store import look_store
from tools.project import Progress, Project, ProjectFacts
from tools.spec import Tool
from trainer_core.config import is_tiny
from trainer_core.data.buckets import (
    REAL_LIMITS,
    TINY_LIMITS,
    Bucket,
    BucketLimits,
    format_buckets,
    limits_of,
    parse_buckets,
)
from trainer_core.errors import DataError
from trainer_core.files import write_pieces, write_text
from trainer_core.strict import Strict
from trainer_core.units import counted

MAX_NAMES = 5
"""Names spelled out in one sentence; report.html has them all."""


class InspectArguments(Strict):
    """Settings of an inspection."""

    frame_rate: Annotated[
        float | None,
        Field(ge=1, le=120, description="Frames per second to work at; null takes what most of the footage has."),
    ] = None

    buckets: Annotated[
        str | None, Field(description="Sizes to cut to, WxHxF;WxHxF; null keeps what was chosen, else proposes some.")
    ] = None
    max_tokens: Annotated[
        int | None,
        Field(ge=1, description="Video tokens a sample may have, for proposing buckets; 4032 is 768x448x89."),
    ] = None


class FlaggedClip(Strict):
    """A usable clip that a person should look at, and why."""

    clip: str
    flags: list[str]
    messages: list[str]


class InspectResult(Strict):
    """Findings: show the user the sentence, then the problems. Seconds are of decoded footage."""

    sentence: str
    clips: int
    usable: int
    unusable: int
    unreadable: int
    other_files: int
    clips_with_sound: int
    samples: int
    frame_rate: float
    buckets: str
    seconds: Seconds
    flagged: list[FlaggedClip]
    objectives_possible: list[str]
    objectives_missing: dict[str, list[str]]
    problems: list[str]
    report: str
    report_html: str


def inspect_clips(project: Project, arguments: InspectArguments, progress: Progress | None = None) -> InspectResult:
    """Look at every clip of the project: decode it once, measure it, and cut it into samples.

    Writes report.json and report.html into the project; never writes into the clips folder. Says which clips can train
    and which can't and why, how many seconds are kept, which bucket sizes fit, and which training objectives are
    possible. Run it first, and again whenever the clips changed.
    """
    facts = _with_wishes(project, arguments)
    files = find_files(facts.sources)
    taken = with_inputs(project, with_copies(project, files))
    taken = replace(taken, notes=[*remark_on_columns(files), *taken.notes])
    sources = [displayed(source) for source in facts.sources]
    written = project.report_path, project.report_html_path
    tiny = is_tiny(facts.model)
    chosen = (
        str(project.path),
        sources,
        facts.buckets,
        facts.max_tokens,
        tiny,
        arguments.frame_rate,
        taken.replaced,
        taken.notes,
    )
    key = fingerprint(taken.found, chosen)
    with look_store(project.looks_path) as store:
        known = result_kept(store, key, written)
        if known is not None:
            return InspectResult.model_validate(json.loads(known))
        looks = look_at_all(taken.found, store, progress)
        if all(look.kind == "other" for look in looks):
            raise DataError(
                f"There is no video, image or sound in {', '.join(sources)}, only {counted(len(looks), 'other file')}.",
                "Give the folder that holds the clips.",
            )
        made = assemble(taken.found, looks.looks, store.numbers, _limits(facts), arguments.frame_rate)
        report = with_replaced(made, taken)

        def shown(clip: Clip) -> ClipPreviews:
            seen = store.look(clip.sha256, Path(clip.path)) if clip.sha256 is not None else None
            if seen is None or clip.sha256 is None:
                return ClipPreviews()
            own = seen.numbers.get("curves", {})
            return ClipPreviews(store.sheet(clip.sha256), own.get("peaks", ()), own.get("changes", ()))

        write_text(project.report_html_path, render_page(report, shown, sources))
        write_pieces(project.report_path, report.pieces())
        result = _result(project, report)
        if not result.usable:
            raise DataError(
                f"None of the {counted(result.clips, 'clip')} can train. {' '.join(result.problems)}",
                f"Every clip with its reason stands in {displayed(result.report_html)}.",
            )
        told = json.dumps(result.model_dump(mode="python"), default=str)  # ASCII escapes carry names of any bytes
        keep_result(store, key if looks.lasting else None, written, told)
    return result


def _with_wishes(project: Project, arguments: InspectArguments) -> ProjectFacts:
    """What the user chose now stays chosen: the clips may be inspected again by others."""
    facts = project.facts
    wished = arguments.model_dump(include={"buckets", "max_tokens"}, exclude_none=True)
    if wished.get("buckets"):
        parse_buckets(wished["buckets"])
    if wished:
        facts = facts.model_copy(update={"buckets": None, "max_tokens": None, **wished})
        project.write_facts(facts)
    return facts


def _limits(facts: ProjectFacts) -> BucketLimits | list[Bucket]:
    if facts.buckets:
        return parse_buckets(facts.buckets)
    if facts.max_tokens:
        return limits_of(facts.max_tokens)
    return TINY_LIMITS if is_tiny(facts.model) else REAL_LIMITS


def _result(project: Project, report: Report) -> InspectResult:
    summary, seconds = report.summary, report.seconds
    clips = len(report.clips) - summary.other
    usable = summary.ok + summary.flagged
    sentence = (
        f"{usable} of {counted(clips, 'clip')} can train: {counted(summary.samples, 'sample')} at "
        f"{summary.frame_rate:g} fps, {seconds.kept:.1f} of {seconds.total:.1f} seconds kept."
    )
    if report.replaced:
        originals = sum(one.source != str(project.clips_path) for one in report.replaced)
        copies = sum(clip.origin is not None for clip in report.clips)
        sentence += f" {counted(originals, 'remedied clip')} replaced by {copies} of these."
    return InspectResult(
        sentence=sentence,
        clips=clips,
        usable=usable,
        unusable=summary.unusable,
        unreadable=summary.unreadable,
        other_files=summary.other,
        clips_with_sound=sum(clip.audio.status == "ok" for clip in report.clips if clip.samples),
        samples=summary.samples,
        frame_rate=summary.frame_rate,
        buckets=format_buckets(report_buckets(report)),
        seconds=seconds,
        flagged=[_flagged(clip) for clip in report.clips if clip.status == "flagged"],
        objectives_possible=[name for name, verdict in report.objectives.items() if verdict.possible],
        objectives_missing={name: verdict.missing for name, verdict in report.objectives.items() if verdict.missing},
        problems=[*report.notes, *_problems(report.clips)],
        report=str(project.report_path),
        report_html=str(project.report_html_path),
    )


def _flagged(clip: Clip) -> FlaggedClip:
    warnings = [flag for flag in clip.flags if flag.severity == "warn"]
    return FlaggedClip(
        clip=displayed(clip.path),
        flags=[flag.id for flag in warnings],
        messages=[f"{flag.message} {flag.remedy}" for flag in warnings],
    )


def _problems(clips: Sequence[Clip]) -> list[str]:
    """One sentence or two for every clip that can't train, then one for each kind of warning on the others."""
    blocked: list[str] = []
    warned: dict[tuple[str, str], dict[str, str]] = {}
    for clip in clips:
        for flag in clip.flags:
            if flag.severity == "block":
                # an error of decoding names its file already
                about = "" if clip.status == "unreadable" else f"{displayed(clip.path)!r}: "
                blocked.append(f"{about}{flag.message} {flag.remedy}")
            elif flag.severity == "warn" and clip.status == "flagged":
                noun = "clips" if clip.role == "clip" else "files"
                warned.setdefault((flag.id, noun), {}).setdefault(displayed(clip.path), flag.message)
    return blocked + [_warning(noun, messages) for (_, noun), messages in warned.items()]


def _warning(noun: str, messages: dict[str, str]) -> str:
    """One sentence for one kind of flag; `messages` by clip, or by file that belongs to none."""
    names = [repr(name) for name in messages]
    message = next(iter(messages.values()))
    if len(names) == 1:
        return f"{names[0]}: {message}"
    listed = ", ".join(names[:MAX_NAMES]) + (f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else "")
    same = len(set(messages.values())) == 1
    return f"{len(names)} {noun} ({listed}): {'' if same else 'for example, '}{message}"


INSPECT_TOOL = Tool("inspect_clips", inspect_clips, InspectArguments)
