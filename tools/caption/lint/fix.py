"""Mending what the lint finds: words edited in place where that does, else written again with one more sentence."""

from collections import Counter
from typing import Annotated

from pydantic import Field

from tools.caption.captioners.instruction import learns_identity
from tools.caption.estimate import memory_cost
from tools.caption.lint.review import lint_context
from tools.caption.lint.set_checks import LINT_IDS, hint_for, invariant_traits, mended, traits_of
from tools.caption.store.caption_session import CaptionSession, captions_opened, open_captions
from tools.caption.store.captions import CaptionEntry
from tools.inspect.discover.names import displayed
from tools.plain_text import plain_text
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, nothing
from trainer_core.errors import ConfigError
from trainer_core.strict import Strict


class FixArguments(Strict):
    """Captions to mend, and how far."""

    clips: Annotated[
        list[str], Field(description="Clips to mend, by path; empty: all but those whose captions a person wrote.")
    ] = []
    ids: Annotated[list[str], Field(description="Findings to mend, by id; empty: all of them.")] = []
    rewrite: Annotated[
        bool, Field(description="Let the captioner write again what editing words can't mend. It costs what it costs.")
    ] = True


class FixResult(Strict):
    """Counts of captions mended by editing words and by writing again, and the findings left, by clip."""

    mended: int
    rewritten: int
    left: dict[str, list[str]]
    findings: dict[str, int]
    notes: list[str]
    path: str


def fix_captions(project: Project, arguments: FixArguments, progress: Progress | None = None) -> FixResult:
    """Mend what the lint found in captions: Markdown, headings, openings, claims against measurements and more.

    Words are edited where that is enough; a captioner writes the others again, told what was wrong. Captions that a
    person wrote are mended only when they are named. Every change can be undone with `undo_captions`.
    """
    unknown = [name for name in arguments.ids if name not in LINT_IDS]
    if unknown:
        raise ConfigError(f"There is no finding {unknown[0]!r}.", f"Findings: {', '.join(sorted(LINT_IDS))}.")
    with captions_opened(project) as session:
        rows = session.rows()
        present = sorted(session.work.entries)
        named = {session.work.clips[index].path: index for index in present}
        for clip in arguments.clips:
            if clip not in named:
                raise ConfigError(f"There is no caption of {displayed(clip)}.", "Name clips as captions.jsonl does.")
        wanted = [
            (index, row)
            for index, row in zip(present, rows, strict=True)
            if (row.path in arguments.clips if arguments.clips else row.source not in ("person", "measured"))
        ]
        edited = _edit_words(session, wanted, rows, arguments.ids)
        rewritten = 0
        try:
            if arguments.rewrite and session.costly:
                rewritten = _write_again(session, [index for index, _ in wanted], arguments.ids, progress)
        finally:
            rows = session.save("fix")
    left = {row.path: names for row in rows if (names := [flag.id for flag in row.flags if flag.id in LINT_IDS])}
    return FixResult(
        mended=edited,
        rewritten=rewritten,
        left=left,
        findings=dict(Counter(name for names in left.values() for name in names)),
        notes=session.notes,
        path=str(project.captions_path),
    )


class LintArguments(Strict):
    """Nothing to choose: all captions are looked at."""


class LintResult(Strict):
    """Findings: ids by clip, how often each, and how many captions the user must look at."""

    left: dict[str, list[str]]
    findings: dict[str, int]
    needs_review: int
    path: str


def lint_project(project: Project, _arguments: LintArguments, _progress: Progress | None = None) -> LintResult:
    """Look for what spoils captions, in all of them as they are now, and store the findings beside them."""
    with captions_opened(project) as session:
        rows = session.save("fix")
    left = {row.path: names for row in rows if (names := [flag.id for flag in row.flags if flag.id in LINT_IDS])}
    return LintResult(
        left=left,
        findings=dict(Counter(name for names in left.values() for name in names)),
        needs_review=sum(row.needs_review for row in rows),
        path=str(project.captions_path),
    )


def preview_fix(project: Project, arguments: FixArguments) -> Preview | None:
    """Return the card before captions are written again; None for editing words, which can be undone."""
    session = open_captions(project)
    if not arguments.rewrite or not session.costly or session.captioner is None:
        return None
    rows = [row for row in session.rows() if any(flag.id in LINT_IDS for flag in row.flags)]
    lines = [f"{row.path}: {', '.join(flag.id for flag in row.flags if flag.id in LINT_IDS)}" for row in rows]
    costs = [
        CostLine("money", f"at most {len(rows)} captions more", None, "unknown"),
        CostLine("time", f"that of {len(rows)} captions"),
        memory_cost(session.captioner),
        *nothing("disk"),
    ]
    return Preview(f"Write up to {len(rows)} captions again?", lines, costs) if rows else None


def _edit_words(
    session: CaptionSession, wanted: list[tuple[int, CaptionEntry]], rows: list[CaptionEntry], ids: list[str]
) -> int:
    traits = invariant_traits([row.caption for row in rows]) if learns_identity(session.facts) else []
    count = 0
    for index, row in wanted:
        found = {flag.id for flag in row.flags if not ids or flag.id in ids}
        if not found & LINT_IDS:
            continue
        clip, file = session.work.clips[index], session.work.files[index]
        context = lint_context(session.project, clip, file, row, session.instruction.text)
        own = traits if "identity_leak" in found else []
        text, made = mended(row.caption, context, traits=own, only=set(ids) or LINT_IDS)
        text = plain_text(text)
        if text and text != row.caption:
            fixed = row.with_caption(text)
            session.work.entries[index] = fixed.model_copy(update={"mended": [*row.mended, *made]})
            count += 1
    return count


def _write_again(session: CaptionSession, indices: list[int], ids: list[str], progress: Progress | None) -> int:
    """Write again what still has findings that only other words mend; return how many there were."""
    present = sorted(session.work.entries)
    rows = dict(zip(present, session.rows(), strict=True))
    traits = invariant_traits([row.caption for row in rows.values()])
    hints: dict[int, str] = {}
    for index in indices:
        row = rows[index]
        found = [flag.id for flag in row.flags if flag.id in LINT_IDS and (not ids or flag.id in ids)]
        hint = hint_for(found)
        if row.source in ("person", "existing") or not hint:
            continue
        if "identity_leak" in found:
            hint = f"{hint} Leave out: {', '.join(sorted(set(traits) & traits_of(row.caption)))}."
        hints[index] = hint
    before = {index: session.work.entries[index] for index in hints}
    session.write(sorted(hints), progress, hints)
    for index, entry in before.items():  # a second failure leaves the first words, flagged as they are
        if session.work.entries[index].source == "measured" and entry.source != "measured":
            session.work.entries[index] = entry
    return len(hints)
