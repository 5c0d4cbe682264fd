"""Twelve situations that people come with, as the reports that inspection makes of them: no media, no decoding.

`python -m tests.tools.draft.situations` writes the plan drafted for each to golden_plans/; the test compares them.
"""

import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tools.draft.draft import DraftArguments, draft_of, facts_with
from tools.inspect.discover.media_file import FoundFile
from tools.inspect.report.build_report import assemble
from tools.inspect.report.report import Report
from tools.inspect.scan.scan_file import Look
from tools.project import Project, ProjectFacts
from trainer_core.data.buckets import REAL_LIMITS
from trainer_core.data.media.probe import AudioProbe, ClipProbe
from trainer_core.files import write_json, write_jsonl, write_text

GOLDEN = Path(__file__).with_name("golden_plans")
MODEL = "/models/ltx-2.3.safetensors"


@dataclass(frozen=True)
class Item:
    """One clip of a situation: what a probe and the checks would say of it. Times in seconds."""

    path: str
    kind: str = "video"
    seconds: float = 5.0
    size: tuple[int, int] = (1920, 1080)
    fps: float = 24.0
    sound: str = "ok"
    scene: str | None = None
    cuts: Sequence[float] = ()
    silences: Sequence[tuple[float, float]] = ()
    speech: Sequence[tuple[float, float]] = ()
    lufs: float = -20.0
    columns: dict[str, str] = field(default_factory=dict)


def _probe(item: Item) -> ClipProbe:
    audio = None
    if item.sound != "none" and item.kind != "image":
        audio = AudioProbe(True, "aac", 48000, 2, 0.0, item.seconds)
    pictures = item.kind != "audio"
    still = item.kind == "image"
    return ClipProbe(
        kind=item.kind,  # type: ignore[arg-type]
        duration_s=0.0 if still else item.seconds,
        frames=(1 if still else round(item.seconds * item.fps)) if pictures else 0,
        fps=item.fps if pictures and not still else None,
        width=item.size[0] if pictures else None,
        height=item.size[1] if pictures else None,
        audio=audio,
    )


def _numbers(item: Item) -> dict[str, dict[str, Any]]:
    scene = random.Random(item.scene or item.path)
    signature = f"{scene.getrandbits(64):016x}{scene.getrandbits(216):054x}"  # gradients, colours
    loudest = -90.0 if item.sound == "silent" else -6.0
    found: dict[str, dict[str, Any]] = {
        "silent": {"rms_dbfs": -24.0, "loudest_dbfs": loudest, "silent_s": 0.0, "silences": list(item.silences)},
        "speech": {"speech_s": sum(end - start for start, end in item.speech), "spans": list(item.speech)},
        "loudness": {"integrated_lufs": item.lufs, "range_lu": 4.0},
        "clipping": {"peak": 0.5},
    }
    if item.kind == "video":
        found["scene_cut"] = {"count": len(item.cuts), "cuts": [(cut, 40.0) for cut in item.cuts]}
    if item.kind != "audio":
        found["near_duplicate"] = {"signatures": [signature] * 3}
    return found


@dataclass(frozen=True)
class Situation:
    """What somebody comes with: clips, the objective where only words could tell it, the card's memory."""

    items: list[Item]
    objective: str | None = None
    card_bytes: int = 80 * 10**9


def _photos() -> Situation:
    sizes = [(4000, 3000), (3000, 4000), (4000, 3000)]
    return Situation([Item(f"IMG_{n:04d}.jpg", "image", size=sizes[n % 3], sound="none") for n in range(30)])


def _phone_clips() -> Situation:
    draw = random.Random(2)
    items = [
        Item(f"{n:02d}.mov", seconds=round(draw.uniform(5, 14), 2), size=(1080, 1920), fps=29.97, scene=f"s{n % 18}")
        for n in range(20)
    ]
    return Situation(items, card_bytes=24 * 10**9)


def _five_clips() -> Situation:
    return Situation([Item(f"take {n}.mp4", seconds=4.2) for n in range(5)])


def _two_thousand() -> Situation:
    draw = random.Random(4)
    items = [
        Item(
            f"{n:04d}.mp4",
            seconds=round(draw.uniform(4, 9), 2),
            sound="none" if n % 20 == 7 else "ok",
            scene=f"s{n % 1700}",
        )
        for n in range(2000)
    ]
    return Situation(items)


def _mixed_rates() -> Situation:
    rates = [23.976, 25.0, 29.97, 50.0, 59.94, 25.0]
    return Situation([Item(f"{n:02d}.mp4", seconds=5 + n % 4, fps=rates[n % 6], size=(1280, 720)) for n in range(24)])


def _all_4k() -> Situation:
    return Situation([Item(f"A{n:03d}.mov", seconds=8.0, size=(3840, 2160), fps=25.0) for n in range(16)])


def _wavs() -> Situation:
    draw = random.Random(7)
    return Situation(
        [
            Item(f"line_{n:02d}.wav", "audio", seconds=4.0, lufs=round(draw.uniform(-34, -14), 1), speech=[(0.3, 3.6)])
            for n in range(80)
        ]
    )


def _pairs() -> Situation:
    return Situation(
        [
            Item(f"after/{n:02d}.mp4", seconds=5.0, sound="none", columns={"reference_video": f"before/{n:02d}.mp4"})
            for n in range(40)
        ],
        objective="v2v_ic",
    )


def _interview() -> Situation:
    speech = [(round(n * 6.0 + 0.4, 1), round(n * 6.0 + 5.6, 1)) for n in range(300)]
    return Situation([Item("interview.mp4", seconds=1800.0, fps=25.0, speech=speech)])


def _masks() -> Situation:
    return Situation(
        [Item(f"{n:02d}.mp4", seconds=5.0, columns={"video_mask": f"masks/{n:02d}.mp4"}) for n in range(25)],
        objective="video_inpainting",
    )


def _silent() -> Situation:
    return Situation([Item(f"{n:02d}.mp4", seconds=6.0, sound="silent" if n < 2 else "none") for n in range(18)])


def _music_video() -> Situation:
    draw = random.Random(12)
    cuts, time_s = [], 0.0
    while (time_s := round(time_s + draw.uniform(0.6, 4.5), 3)) < 213.0:
        cuts.append(time_s)
    return Situation([Item("music video.mp4", seconds=215.0, fps=25.0, cuts=cuts, lufs=-9.5)])


SITUATIONS: dict[str, Callable[[], Situation]] = {
    "photos_30": _photos,
    "phone_clips_20": _phone_clips,
    "clips_5": _five_clips,
    "clips_2000": _two_thousand,
    "mixed_rates": _mixed_rates,
    "all_4k": _all_4k,
    "wavs_80": _wavs,
    "pairs": _pairs,
    "one_interview": _interview,
    "masks": _masks,
    "silent_footage": _silent,
    "music_video": _music_video,
}


def drafted(name: str, folder: Path) -> str:
    """The plan that is drafted for a situation, in an empty folder: what a person is told first, then config.yaml."""
    situation = SITUATIONS[name]()
    project = Project(folder / "project")
    report = report_of(situation.items, folder / "footage")
    write_json(project.report_path, report.model_dump())
    write_jsonl(
        project.captions_path,
        [
            {"path": clip.path, "sha256": clip.sha256, "caption": f"What {clip.path} shows.", "source": "person"}
            for clip in report.clips
            if clip.kind != "other"
        ],
    )
    facts = ProjectFacts(sources=[str(folder / "footage")], model=MODEL, objective=situation.objective)
    made = draft_of(project, facts_with(facts, DraftArguments()), lambda: situation.card_bytes)
    draft = made.draft
    told = [f"{draft.objective}, {draft.adapter}: {draft.coverage.sentence}", *draft.notes]
    lost = {one.reason: f"{one.seconds:.0f} s of {one.clips} clips" for one in report.dataset.lost}
    told += [f"not in a sample: {what} ({reason})" for reason, what in lost.items()]
    seconds = [sample.duration_s for clip in draft.training for sample in clip.samples if sample.bucket is None]
    if seconds:
        told.append(f"samples of sound: {len(seconds)}, {min(seconds):.1f} to {max(seconds):.1f} s")
    return "".join(f"# {line}\n" for line in told) + made.text


def report_of(items: Sequence[Item], folder: Path) -> Report:
    """The report that inspection assembles of these clips; files that belong to clips are made, empty, in `folder`."""
    by_path = {item.path: item for item in items}
    found = [FoundFile(str(folder), item.path, columns=dict(item.columns)) for item in items]
    looks = [Look(item.kind, _probe(item), sha256=f"sha-of-{item.path}") for item in items]  # type: ignore[arg-type]
    for item in items:
        for column, path in item.columns.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).touch()
            found.append(FoundFile(str(folder), path, role=column))  # type: ignore[arg-type]
            looks.append(Look("video", replace(_probe(item), audio=None), sha256=f"sha-of-{path}"))
    return assemble(
        found, looks, lambda _look, path: _numbers_at(by_path, path.relative_to(folder).as_posix()), REAL_LIMITS, None
    )


def _numbers_at(items: dict[str, Item], path: str) -> dict[str, dict[str, Any]]:
    return _numbers(items[path]) if path in items else {}


def main() -> None:
    """Write every golden plan again."""
    for name in SITUATIONS:
        with tempfile.TemporaryDirectory() as folder:
            write_text(GOLDEN / f"{name}.yaml", drafted(name, Path(folder)))


if __name__ == "__main__":
    main()
