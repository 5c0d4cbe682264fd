"""The captions of a project opened for work: what is there, who writes the rest, how it is saved again."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import get_args

from tools.caption.captioners.captioner import Captioner, Instruction, Style
from tools.caption.captioners.choose import make_captioner, parse_choice
from tools.caption.captioners.instruction import default_style, learns_identity, make_instruction
from tools.caption.lint.review import reviewed
from tools.caption.media.prepare_inputs import Preparation
from tools.caption.speech.transcribe import choose_transcriber, transcribe_clips
from tools.caption.speeds import keep_speed
from tools.caption.store.captions import CaptionEntry, read_captions
from tools.caption.store.history import (
    Action,
    add_to_journal,
    captions_locked,
    close_journal,
    read_journal,
    save_captions,
)
from tools.caption.work import ClipSpeech, Work, checked_transcript, plan_work, write_captions_for
from tools.endpoint.usage import Usage
from tools.inspect.report.clips import decodable_clips, read_report, usable_clips
from tools.inspect.report.report import Clip
from tools.project import Progress, Project, ProjectFacts
from trainer_core.files import read_json, write_json

COSTLY = ("endpoint", "local")
"""Captioners whose first captions a person sees before the rest is written."""


@dataclass
class CaptionSession:
    """The rows as they were and as they become, the captioner, and what it is told."""

    project: Project
    facts: ProjectFacts
    captioner: Captioner | None
    instruction: Instruction
    before: list[CaptionEntry]
    known: list[CaptionEntry]
    work: Work
    elsewhere: list[Clip]
    """Clips that are there but not worked on: their captions stay as they are."""
    notes: list[str] = field(default_factory=list)
    used: Usage = field(default_factory=Usage)
    failed: dict[str, str] = field(default_factory=dict)

    @property
    def costly(self) -> bool:
        return self.captioner is not None and self.captioner.source in COSTLY

    @property
    def remaining(self) -> list[int]:
        """The clips that still wait for their caption."""
        return [index for index in self.work.todo if index not in self.work.entries]

    def write(self, indices: Sequence[int], progress: Progress | None, hints: dict[int, str] | None = None) -> None:
        """Caption these clips; each caption is kept the moment it is there."""
        if self.captioner is None or not indices:
            return
        keep_instruction(self.project, self.instruction)
        spoken = self._spoken(indices, progress)
        preparation = Preparation(self.captioner, self.instruction)
        keep: Callable[[CaptionEntry], None] = lambda entry: add_to_journal(self.project, entry)  # noqa: E731
        self.used, self.failed = write_captions_for(
            self.work, indices, preparation, spoken, hints or {}, keep, progress
        )
        written = [self.work.entries[index] for index in indices if index in self.work.entries]
        keep_speed(self.captioner, self.instruction.style, written)
        self.notes += getattr(self.captioner, "notes", [])

    def rows(self) -> list[CaptionEntry]:
        """The rows of the clips that have a caption now, in the clips' order, linted."""
        present = sorted(self.work.entries)
        return reviewed(
            self.project,
            [self.work.clips[index] for index in present],
            [self.work.files[index] for index in present],
            [self.work.entries[index] for index in present],
            self.instruction.text,
        )

    def save(self, action: Action) -> list[CaptionEntry]:
        """Write captions.jsonl and return the clips' rows; rows still to be written again stay as they are."""
        rows = self.rows()
        written = {row.key for row in rows}
        waiting = {self.work.clips[index].sha256 for index in self.remaining}
        rest = [row for row in self.known if row.key not in written and row.sha256 in waiting]
        save_captions(self.project, self.before, [*rows, *rest, *self._untouched(), *self.absent()], action)
        close_journal(self.project)
        return rows

    def absent(self) -> list[CaptionEntry]:
        """Captions that a person wrote for clips that are not there now, to be kept for their return."""
        present = {clip.sha256 for clip in (*self.work.clips, *self.elsewhere)}
        return [entry for entry in self.known if entry.source == "person" and entry.sha256 not in present]

    def _untouched(self) -> list[CaptionEntry]:
        elsewhere = {clip.sha256 for clip in self.elsewhere} - {clip.sha256 for clip in self.work.clips}
        return [entry for entry in self.known if entry.sha256 in elsewhere]

    def _spoken(self, indices: Sequence[int], progress: Progress | None) -> dict[str, ClipSpeech]:
        clips: list[Clip] = [self.work.clips[index] for index in indices]
        files = [self.work.files[index] for index in indices]
        transcriber = choose_transcriber(self.facts.speech or "auto", self.notes)
        found = transcribe_clips(self.project, transcriber, clips, files, self.notes, progress)
        return {
            clip.sha256 or "": checked_transcript(file, found.get(clip.sha256 or ""))
            for clip, file in zip(clips, files, strict=True)
        }


def open_captions(project: Project, *, again: bool = False, unusable: bool = False) -> CaptionSession:
    """Read what is there and find who writes the rest. Raises ConfigError and DataError, as reading the report does."""
    facts = project.facts
    report = read_report(project, unusable=unusable)
    clips = decodable_clips(report) if unusable else usable_clips(report)
    elsewhere = [clip for clip in decodable_clips(report) if clip not in clips]
    notes: list[str] = []
    choice = parse_choice(facts.captioner or "auto")
    captioner = make_captioner(choice, notes)
    instruction = make_instruction(style_of(facts), identity=learns_identity(facts), notes=facts.caption_notes)
    before = read_captions(project.captions_path)
    known = _newest([*before, *read_journal(project)])
    work = plan_work(project, clips, known, choice, captioner, instruction.version, again=again)
    return CaptionSession(project, facts, captioner, instruction, before, known, work, elsewhere, notes)


def keep_instruction(project: Project, instruction: Instruction) -> None:
    """Keep the text behind an instruction version: captions name the version alone."""
    path = project.captions_path.with_name("caption-instructions.json")
    texts = read_json(path) if path.exists() else {}
    if texts.get(instruction.version) != instruction.text:
        write_json(path, {**texts, instruction.version: instruction.text})


@contextmanager
def captions_opened(project: Project, *, again: bool = False, unusable: bool = False) -> Iterator[CaptionSession]:
    """Open the captions for changing them, one process at a time."""
    with captions_locked(project):
        yield open_captions(project, again=again, unusable=unusable)


def style_of(facts: ProjectFacts) -> Style:
    """The style in force: the one that was told, else what the objective needs."""
    for style in get_args(Style):
        if style == facts.caption_style:
            return style
    return default_style(facts.objective)


def _newest(entries: list[CaptionEntry]) -> list[CaptionEntry]:
    """One row a clip, the last one; a person's row is never replaced by a machine's."""
    rows: dict[tuple[str, str], CaptionEntry] = {}
    for entry in entries:
        if entry.key not in rows or rows[entry.key].source != "person":
            rows[entry.key] = entry
    return list(rows.values())
