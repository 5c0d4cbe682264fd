"""The captioning of a project's clips: captions that stand are kept, existing ones taken, the rest written."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tools.caption.captioners.captioner import (
    CaptionDraft,
    Captioner,
    CaptionRequest,
    ClipFile,
    Declined,
    Transcript,
    Usage,
)
from tools.caption.captioners.choose import CaptionerChoice
from tools.caption.captioners.existing import (
    ExistingCaptioner,
    find_sidecar,
    metadata_captions,
    subtitle_draft,
    subtitles,
)
from tools.caption.captioners.measured import INSTRUCTION_VERSION, measured_draft
from tools.caption.estimate import price_of
from tools.caption.lint.review import lint_context
from tools.caption.lint.set_checks import MENDED_AT_ONCE, mended
from tools.caption.lint.sound_checks import LEAST_SPEECH_S, with_quote
from tools.caption.media.pictures import PictureMeasures
from tools.caption.media.prepare_inputs import Preparation
from tools.caption.run import run_captioner
from tools.caption.store.captions import CaptionEntry, captions_by_clip, digest, new_entry
from tools.inspect.discover.names import displayed
from tools.inspect.report.clips import clip_file, content_digest
from tools.inspect.report.report import Clip
from tools.plain_text import MAX_CAPTION_CHARACTERS, plain_text, shortened
from tools.project import Progress, Project
from trainer_core.errors import LtxError

SPOT_CHECKED = 3


@dataclass(frozen=True)
class ClipSpeech:
    """Quotable speech of a clip, and flags where recogniser and measurement disagree."""

    transcript: Transcript | None = None
    flags: dict[str, str] = field(default_factory=dict)


@dataclass
class Work:
    """The captions of a project: those that stand or were found, by clip, and the clips that are to be written."""

    project: Project
    clips: list[Clip]
    files: list[ClipFile]
    entries: dict[int, CaptionEntry] = field(default_factory=dict)
    todo: list[int] = field(default_factory=list)
    machine: list[int] = field(default_factory=list)
    """Every clip that is a machine's to caption, done or not: the spot check is chosen among them."""
    kept: int = 0

    def spot_check(self) -> list[int]:
        """The clips whose captions a person sees in full before the rest is written: spread over all of them."""
        last = len(self.machine) - 1
        picked = (
            {self.machine[round(last * place / (SPOT_CHECKED - 1))] for place in range(SPOT_CHECKED)}
            if last >= 0
            else ()
        )
        return sorted(picked)


def clip_files(clips: Sequence[Clip]) -> list[ClipFile]:
    """Return the clips as captioners know them, with what inspection measured of their sound."""
    return [_clip_file(clip) for clip in clips]


def _clip_file(clip: Clip) -> ClipFile:
    assert clip.kind != "other", "such a clip is never usable"
    return ClipFile(
        path=clip_file(clip),
        name=displayed(clip.path),
        kind=clip.kind,
        has_sound=_has_sound(clip),
        speech_s=clip.audio.speech_s,
        music_likely=clip.audio.music_likely,
        duration_s=clip.duration_s,
        reference=_column(clip, "reference_video"),
        reference_sound=_column(clip, "reference_audio"),
    )


def plan_work(
    project: Project,
    clips: list[Clip],
    before: list[CaptionEntry],
    choice: CaptionerChoice,
    captioner: Captioner | None,
    version: str,
    *,
    again: bool,
) -> Work:
    """Sort the clips: a person's caption stands, an existing one is taken, the rest is for `captioner`."""
    existing = ExistingCaptioner(metadata_captions(Path(source) for source in project.facts.sources))
    known = captions_by_clip(before, clips)
    work = Work(project, clips, clip_files(clips))
    for index, (clip, file) in enumerate(zip(clips, work.files, strict=True)):
        entry = known.get(index)
        if entry is not None and entry.source == "person":
            work.entries[index] = _kept(entry, clip)
            work.kept += 1
            continue
        draft = existing.caption(file) if choice.kind in ("auto", "existing") else None
        if draft is None and choice.kind in ("auto", "existing") and (captioner is None or not _writes(captioner)):
            spoken = subtitles(file.path)
            draft = subtitle_draft(spoken) if spoken else None
        if draft is not None:
            if entry is not None and entry.source == "existing" and _same(entry, draft):
                work.entries[index] = _kept(entry, clip)
                work.kept += 1
            else:
                work.entries[index] = new_entry(clip, draft)
            continue
        work.machine.append(index)
        if entry is not None and not again and captioner is not None and _is_current(entry, choice, captioner, version):
            work.entries[index] = _kept(entry, clip)
            work.kept += 1
        else:
            work.todo.append(index)
    return work


def write_captions_for(
    work: Work,
    indices: Sequence[int],
    preparation: Preparation,
    spoken: dict[str, ClipSpeech],
    hints: dict[int, str],
    keep: Callable[[CaptionEntry], None],
    progress: Progress | None,
) -> tuple[Usage, dict[str, str]]:
    """Write the captions of `indices` into `work`; each goes to `keep` at once. Clips that fail get their measures.

    Returns what was used, and the clips that failed with the reason. Raises the LtxError with which the captioner
    gives up; what is done by then is kept.
    """
    captioner = preparation.captioner
    total, failed = Usage(), {}
    progressed = 0
    began = time.monotonic()
    position = {id(work.files[index]): index for index in indices}

    def _spoken(index: int) -> ClipSpeech:
        return spoken.get(content_digest(work.clips[index]), ClipSpeech())

    def prepare(file: ClipFile, looked: PictureMeasures | None) -> CaptionRequest:
        index = position[id(file)]
        return preparation.request(file, looked, _spoken(index).transcript, hints.get(index, ""))

    def finished(place: int, answer: CaptionDraft | Declined) -> None:
        nonlocal total, progressed
        index = indices[place]
        clip, file = work.clips[index], work.files[index]
        total += answer.usage
        progressed += 1
        heard = _spoken(index)
        if isinstance(answer, Declined):
            failed[clip.path] = answer.message
            draft = _measured_instead(file, answer)
            if draft is None:
                return
        else:
            draft = _plain(answer)
        draft = _marking_empty_sidecar(draft, file)
        draft = replace(draft, flags={**draft.flags, **heard.flags})
        draft = replace(draft, needs_review=draft.needs_review or bool(heard.flags))
        entry = new_entry(clip, draft, preparation.instruction.style, heard.transcript)
        if entry.source != "measured":
            context = lint_context(work.project, clip, file, entry, preparation.instruction.text)
            given = answer.caption if isinstance(answer, CaptionDraft) else entry.caption
            text, mends = mended(given, context, only=MENDED_AT_ONCE)
            entry = entry.with_caption(shortened(plain_text(text), MAX_CAPTION_CHARACTERS) or entry.caption)
            entry = entry.model_copy(update={"mended": mends})
        elif heard.transcript is not None and heard.transcript.text:
            entry = entry.with_caption(with_quote(entry.caption, heard.transcript.text))
        work.entries[index] = entry
        keep(entry)
        tell()

    def tell() -> None:
        if progress is not None:
            progress(_doing(captioner, total), progressed, len(indices))

    if indices:
        tell()
        files = [work.files[index] for index in indices]
        run_captioner(captioner, files, preparation.look, prepare, finished, tell)
    return replace(total, seconds=time.monotonic() - began), failed


def checked_transcript(file: ClipFile, spoken: Transcript | None) -> ClipSpeech:
    """Hold a transcript against the speech that was measured; where nothing was measured it is believed."""
    if file.speech_s is None:
        return ClipSpeech(spoken)
    if spoken is not None and spoken.text and file.speech_s < LEAST_SPEECH_S:
        message = f"“{spoken.text[:60]}” ({spoken.origin}) is not quoted: {file.speech_s:.1f} s of speech were measured"
        return ClipSpeech(None, {"speech_denied": message})
    if (spoken is None or not spoken.text) and file.speech_s >= 1.0:
        message = f"{file.speech_s:.1f} s of speech were measured and not transcribed"
        return ClipSpeech(None, {"speech_not_transcribed": message} if spoken is not None else {})
    return ClipSpeech(spoken)


def _column(clip: Clip, name: str) -> Path | None:
    return Path(clip.source) / clip.columns[name] if name in clip.columns else None


def _has_sound(clip: Clip) -> bool | None:
    if clip.kind == "image" or clip.audio.status in ("none", "silent"):
        return False
    return True if clip.audio.status in ("ok", "short") else None


def _writes(captioner: Captioner) -> bool:
    return captioner.source != "measured"


def _kept(entry: CaptionEntry, clip: Clip) -> CaptionEntry:
    return entry.model_copy(update={"path": clip.path})


def _same(entry: CaptionEntry, draft: CaptionDraft) -> bool:
    return digest(draft.caption) in (entry.origin_sha256, digest(entry.caption))


def _is_current(entry: CaptionEntry, choice: CaptionerChoice, captioner: Captioner, version: str) -> bool:
    """True if a machine's earlier caption stands: written as is asked for now. `auto` keeps better ones."""
    if entry.source == "measured":
        return captioner.source == "measured" and entry.instruction_version == INSTRUCTION_VERSION
    if entry.source not in ("endpoint", "local"):
        return False
    if choice.kind == "auto" and not _writes(captioner):
        return True
    asked_as = (entry.instruction_version or "").rpartition("-")[0] == version.rpartition("-")[0]
    if choice.kind == "auto":
        return asked_as
    return asked_as and entry.source == captioner.source and (not choice.model or entry.model == captioner.model)


def _measured_instead(file: ClipFile, answer: Declined) -> CaptionDraft | None:
    """A draft of measures for a clip that the captioner failed on, marked with the reason; None if it is unreadable."""
    try:
        draft = measured_draft(file)
    except LtxError:
        return None
    return replace(draft, flags={**draft.flags, answer.id: shortened(plain_text(answer.message), 200)})


def _plain(draft: CaptionDraft) -> CaptionDraft:
    return replace(draft, caption=shortened(plain_text(draft.caption), MAX_CAPTION_CHARACTERS))


def _marking_empty_sidecar(draft: CaptionDraft, file: ClipFile) -> CaptionDraft:
    if find_sidecar(file.path) is None:
        return draft
    return replace(draft, flags={**draft.flags, "sidecar_empty": "the text file beside the clip says nothing"})


def _doing(captioner: Captioner, usage: Usage) -> str:
    """What is going on, with tokens and money so far behind a dot."""
    tokens = usage.prompt_tokens + usage.completion_tokens
    cost = usage.cost(price_of(captioner))
    counted = f" · {tokens:,} tokens" if tokens else ""
    return f"captions{counted}{f' · ${cost:.2f}' if cost is not None and tokens else ''}"
