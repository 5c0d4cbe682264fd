"""Facts about the clips: those that train, the reasons of the others, whether they are enough; their captions."""

from tools.caption.store.captions import captions_by_clip, read_captions
from tools.draft.draft import draft_of
from tools.draft.plan import clip_count_sentence
from tools.draft.references import clips_meant
from tools.facts.lines import FactsError, named
from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import read_report, usable_clips
from tools.inspect.report.report import Clip, Report
from tools.plain_text import plain_text
from tools.project import Project
from trainer_core.units import counted

_FOLKLORE = (
    "People report (folklore, not a measurement) that a style or a character takes 20 to 50 varied images or 10 to 30 "
    "clips of 3 to 8 s, motion takes clips rather than stills, and matching sound to picture takes more."
)
_CAPTION_CHARACTERS = 300


def clip_facts(project: Project, name: str | None) -> list[str]:
    """Return how many clips train, which are left out and why; or all that was found of the clip `name` means."""
    report = _report(project)
    if name is not None:
        meant = clips_meant(report, [name])
        return [line for clip in report.clips if clip.path in meant for line in _of_clip(clip, project, report)]
    if not project.config_path.exists():
        left = [clip for clip in report.clips if clip.kind != "other" and clip not in usable_clips(report)]
        lines = [f"{len(usable_clips(report))} of {counted(len(usable_clips(report)) + len(left), 'clip')} can train."]
        return lines + [f"{displayed(clip.path)}: {_blocking(clip)}." for clip in left]
    draft = draft_of(project, project.facts).draft
    by_reason: dict[str, list[str]] = {}
    for clip, reason in draft.left_out:
        by_reason.setdefault(reason, []).append(clip.path)
    lines = [clip_count_sentence(draft)]
    lines += [f"Left out, since {reason}: {named(paths)}." for reason, paths in by_reason.items()]
    warned = [clip.path for clip in draft.training if any(flag.severity == "warn" for flag in clip.flags)]
    return [*lines, *([f"Worth a look before training (report.html says why): {named(warned)}."] if warned else [])]


def enough_facts(project: Project, _name: str | None) -> list[str]:
    """Return the amount and variety of the material, beside what people report to be enough."""
    report = _report(project)
    clips = usable_clips(report)
    kinds = {kind: sum(clip.kind == kind for clip in clips) for kind in ("video", "image", "audio")}
    words = {"video": "video clip", "image": "image", "audio": "audio file"}
    there = ", ".join(counted(count, words[kind]) for kind, count in kinds.items() if count)
    lines = [f"You have {there} that can train: {report.seconds.kept:.0f} s of samples in {report.summary.samples}."]
    if report.dataset.groups:
        alike = len(clips) - report.dataset.groups
        lines.append(f"{alike} of them look nearly like another one." if alike > 0 else "No two of them look alike.")
    return [*lines, _FOLKLORE, "Whether it is enough for your taste, only the trained result shows."]


def caption_facts(project: Project, name: str | None) -> list[str]:
    """Return how many captions there are, by whom, how many wait for a review; or the captions of some clips."""
    entries = read_captions(project.captions_path)
    if not entries:
        raise FactsError("There are no captions yet.", 'Say "caption" to have them written.')
    if name is None:
        sources: dict[str, int] = {}
        for entry in entries:
            sources[entry.source] = sources.get(entry.source, 0) + 1
        told = ", ".join(f"{count} {source}" for source, count in sources.items())
        waiting = sum(entry.needs_review for entry in entries)
        lines = [f"{counted(len(entries), 'caption')} ({told}), {waiting} to review, in captions.jsonl."]
        return [*lines, f"{displayed(entries[0].path)}: {_shortened(entries[0].caption)}"]
    report = _report(project)
    clips = [clip for clip in report.clips if clip.path in clips_meant(report, [name])]
    found = captions_by_clip(entries, clips)
    return [
        f"{displayed(clip.path)}: {_shortened(found[index].caption) if index in found else 'it has no caption'}"
        for index, clip in enumerate(clips)
    ]


def _of_clip(clip: Clip, project: Project, report: Report) -> list[str]:
    lines = [f"{displayed(clip.path)}: {clip.status}, {clip.duration_s:.1f} s, sound {clip.audio.status}."]
    lines += [f"{flag.severity}: {plain_text(flag.message)}. {plain_text(flag.remedy)}" for flag in clip.flags]
    if project.config_path.exists():
        draft = draft_of(project, project.facts).draft
        reason = next((reason for other, reason in draft.left_out if other.path == clip.path), None)
        lines.append(f"It is left out: {reason}." if reason else "It trains.")
    elif clip not in usable_clips(report):
        lines.append("It can't train.")
    return lines


def _report(project: Project) -> Report:
    if not project.report_path.exists():
        raise FactsError("The clips were not looked at yet.", 'Say "inspect".')
    return read_report(project)


def _blocking(clip: Clip) -> str:
    blocking = [plain_text(flag.message) for flag in clip.flags if flag.severity == "block"]
    return "; ".join(blocking) or f"inspection found it {clip.status}"


def _shortened(caption: str) -> str:
    text = plain_text(caption)
    return text if len(text) <= _CAPTION_CHARACTERS else f"{text[:_CAPTION_CHARACTERS]}…"
