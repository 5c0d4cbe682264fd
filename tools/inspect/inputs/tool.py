"""The tool that makes references and masks: what the in-context and inpainting objectives learn from.

Which and how is the user's choice: kinds and their strengths have no defaults.
"""

import wave
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from tools.inspect.discover.names import displayed
from tools.inspect.inputs import pictures
from tools.inspect.inputs.ledger import Column, Input, read_inputs, write_inputs
from tools.inspect.remedies.ledger import state_of
from tools.inspect.remedies.recode import write_copies
from tools.inspect.remedies.tool import named
from tools.inspect.remedies.tracks import Draw, MediaChange, Stretch
from tools.inspect.report.report import Clip, Report
from tools.project import Progress, Project
from tools.spec import CostLine, Preview, Tool, as_given, nothing
from trainer_core.data.media.pictures import read_frames
from trainer_core.data.windows import is_image
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import file_digest, replacing
from trainer_core.strict import Strict

Kind = Literal[
    "files", "edges", "blur", "grayscale", "luminance", "downscale", "depth", "matte", "pose", "low_pass",
    "boxes", "random_boxes", "random_brushes", "spans", "random_spans",
]  # fmt: skip
MASK_RATE_HZ = 16_000
DEPTH_SAMPLES = 8
Share = Annotated[float, Field(gt=0, lt=1)]


class InputsArguments(Strict):
    """The user's choice. A kind reads only its own settings, and needs them: ask the user, never invent them."""

    column: Column
    kind: Kind
    clips: Annotated[list[str] | None, Field(description="Names from the report, `*` allowed; null: all.")] = None
    folder: Annotated[str | None, Field(description="files: holds a file of each clip's name.")] = None
    invert: Annotated[bool, Field(description="files, matte: white is what is generated.")] = False
    blur: Annotated[Share | None, Field(description="blur: sigma as a share of the picture's height.")] = None
    factor: Annotated[float | None, Field(gt=1, le=32, description="downscale: how many times smaller.")] = None
    cutoff_hz: Annotated[float | None, Field(ge=50, le=20000, description="low_pass.")] = None
    model: Annotated[str | None, Field(description="depth, matte, pose: a local transformers folder.")] = None
    label: Annotated[str | None, Field(description="matte: the model's name of what is cut out.")] = None
    boxes: Annotated[
        list[tuple[float, float, float, float]] | None,
        Field(description="boxes: y1, x1, y2, x2 as shares of the picture; what lies inside is generated."),
    ] = None
    share: Annotated[Share | None, Field(description="random_*: how much of picture or sound is generated.")] = None
    spans: Annotated[
        list[tuple[float, float]] | None, Field(description="spans: seconds from, to, that are generated.")
    ] = None
    seed: int = 0


class MadeInput(Strict):
    """One file for one clip."""

    clip: str
    file: str


class InputsResult(Strict):
    """Files made: show the user the sentence and the clips without a file; the report was written again."""

    sentence: str
    made: list[MadeInput]
    unpaired: list[str]
    notes: list[str]
    inspection: str


@dataclass(frozen=True)
class _Recipe:
    """A kind: the columns it fills, the settings it needs, those it may have, and how it is said in words."""

    columns: tuple[Column, ...]
    needs: tuple[str, ...]
    words: Callable[[InputsArguments], str]
    may_have: tuple[str, ...] = ()


_VIDEO: tuple[Column, ...] = ("reference_video",)
_MASK: tuple[Column, ...] = ("video_mask",)
_RECIPES: dict[str, _Recipe] = {
    "files": _Recipe(
        ("reference_video", "reference_audio", "video_mask", "audio_mask"),
        ("folder",),
        lambda chosen: f"the files in {chosen.folder}{', inverted' if chosen.invert else ''}",
        ("invert",),
    ),
    "edges": _Recipe(_VIDEO, (), lambda _: f"edges (Canny, thresholds {pictures.EDGE_THRESHOLDS})"),
    "blur": _Recipe(_VIDEO, ("blur",), lambda chosen: f"blurred, sigma {chosen.blur:g} of the height"),
    "grayscale": _Recipe(_VIDEO, (), lambda _: "grayscale (BT.601 luma)"),
    "luminance": _Recipe(_VIDEO, (), lambda _: "luminance (BT.709, linear light)"),
    "downscale": _Recipe(_VIDEO, ("factor",), lambda chosen: f"{chosen.factor:g} times smaller"),
    "depth": _Recipe(_VIDEO, ("model",), lambda chosen: f"depth by {chosen.model}"),
    "pose": _Recipe(_VIDEO, ("model",), lambda chosen: f"pose by {chosen.model}"),
    "matte": _Recipe(
        ("reference_video", "video_mask"),
        ("model", "label"),
        lambda chosen: f"`{chosen.label}` cut out by {chosen.model}{', inverted' if chosen.invert else ''}",
        ("invert",),
    ),
    "low_pass": _Recipe(("reference_audio",), ("cutoff_hz",), lambda chosen: f"low-passed at {chosen.cutoff_hz:g} Hz"),
    "boxes": _Recipe(_MASK, ("boxes",), lambda chosen: f"generated inside {len(chosen.boxes or [])} box(es)"),
    "random_boxes": _Recipe(
        _MASK, ("share",), lambda chosen: f"a wandering box of {chosen.share:.0%}, seed {chosen.seed}", ("seed",)
    ),
    "random_brushes": _Recipe(
        _MASK, ("share",), lambda chosen: f"swaying strokes over {chosen.share:.0%}, seed {chosen.seed}", ("seed",)
    ),
    "spans": _Recipe(("audio_mask",), ("spans",), lambda chosen: f"generated in {len(chosen.spans or [])} span(s)"),
    "random_spans": _Recipe(
        ("audio_mask",),
        ("share",),
        lambda chosen: f"a random span of {chosen.share:.0%}, seed {chosen.seed}",
        ("seed",),
    ),
}


def make_inputs(project: Project, arguments: InputsArguments, progress: Progress | None = None) -> InputsResult:
    """Make or name the references or masks of clips, as the user chose: the in-context and inpainting objectives
    train on them.

    References: edges, blur, grayscale, luminance, downscale, low_pass (sound), depth, pose and matte by a local model
    the user names, or the user's own files. Masks: boxes, random_boxes, random_brushes, spans, random_spans,
    matte, files; white or loud is kept, the rest is generated. Written into the project, never into the clips folder;
    then the clips are inspected again.
    """
    from tools.inspect.report.clips import read_report, usable_clips

    recipe = _RECIPES[arguments.kind]
    _check(arguments, recipe)
    report = read_report(project)
    usable = usable_clips(report)
    chosen = named(usable, arguments.clips) if arguments.clips is not None else usable
    of_sound = arguments.column in ("reference_audio", "audio_mask")
    fitting = [clip for clip in chosen if (clip.audio.status == "ok" if of_sound else clip.kind != "audio")]
    if not fitting:
        raise DataError(f"None of the clips has {'sound' if of_sound else 'pictures'}.", "Choose others.")
    own = {(one.source, one.path, one.column) for one in read_inputs(project)}
    given = [
        displayed(clip.path)
        for clip in fitting
        if arguments.column in clip.columns and (clip.source, clip.path, arguments.column) not in own
    ]
    if given:
        raise ConfigError(
            f"{', '.join(given[:5])}: the metadata file gives a {arguments.column} already.", "Remove it there first."
        )
    records: list[Input] = []
    unpaired: list[str] = []
    for done, clip in enumerate(fitting):
        if progress is not None:
            progress(f"making {arguments.column}", done, len(fitting))
        file = _make(project, clip, arguments, report, progress)
        if file is None:
            unpaired.append(displayed(clip.path))
            continue
        inside = project.inputs_path in file.parents
        kept = str(file.relative_to(project.inputs_path)) if inside else str(file.absolute())
        records.append(_record(clip, arguments, kept, recipe))
        _keep(project, records[-1])  # one by one: what was made stays, whatever stops the rest
    if not records:
        raise DataError(
            f"None of the {len(fitting)} clips has a file in {arguments.folder}; the first is {unpaired[0]}.",
            "Name each file as its clip, with any ending.",
        )
    return InputsResult(
        sentence=f"{arguments.column} of {len(records)} of {len(chosen)} clips: {recipe.words(arguments)}.",
        made=[MadeInput(clip=displayed(one.path), file=one.file) for one in records],
        unpaired=unpaired,
        notes=[f"{len(chosen) - len(fitting)} clips have no {'sound' if of_sound else 'pictures'}."]
        if len(fitting) < len(chosen)
        else [],
        inspection=_inspect_again(project, report, progress),
    )


def preview_inputs(project: Project, arguments: InputsArguments) -> Preview:
    """Return the card before references or masks are made: the user's own choice, in words."""
    from tools.inspect.report.clips import read_report, usable_clips

    recipe = _RECIPES[arguments.kind]
    _check(arguments, recipe)
    usable = usable_clips(read_report(project))
    chosen = named(usable, arguments.clips) if arguments.clips is not None else usable
    seconds = sum(clip.duration_s for clip in chosen)
    lines = [
        f"{arguments.column}: {recipe.words(arguments)}.",
        "In a mask, white (or full level) is kept and black (or silence) is generated.",
    ]
    costs = [
        CostLine("time", f"every picture or sound of {seconds:.0f} s is gone through"),
        CostLine("disk", "a file of its own for each clip, smaller than the clip"),
        *nothing("memory", "money"),
    ]
    return Preview(f"Give {len(chosen)} clips this {arguments.column}?", lines, costs)


def _check(arguments: InputsArguments, recipe: _Recipe) -> None:
    """Refuse what doesn't belong together, naming what does."""
    if arguments.column not in recipe.columns:
        raise ConfigError(
            f"{arguments.kind} makes no {arguments.column}, but {' or '.join(recipe.columns)}.", "Choose that column."
        )
    given = {name for name in arguments.model_fields_set if getattr(arguments, name) not in (None, False)}
    missing = [name for name in recipe.needs if name not in given]
    if missing:
        raise ConfigError(
            f"{arguments.kind} needs {' and '.join(missing)}, and that is the user's choice.", "Ask the user."
        )
    foreign = sorted(given - {"column", "kind", "clips", *recipe.needs, *recipe.may_have})
    if foreign:
        raise ConfigError(f"{arguments.kind} doesn't read {', '.join(foreign)}.", "Leave it out.")
    for y1, x1, y2, x2 in arguments.boxes or []:
        if not (0 <= y1 < y2 <= 1 and 0 <= x1 < x2 <= 1):
            raise ConfigError(
                f"The box {y1}, {x1}, {y2}, {x2} is empty or leaves the picture.", "Use shares in 0 to 1."
            )
    for start_s, end_s in arguments.spans or []:
        if not 0 <= start_s < end_s:
            raise ConfigError(f"The span from {start_s:g} s to {end_s:g} s is empty.", "End it after its start.")


def _make(
    project: Project, clip: Clip, arguments: InputsArguments, report: Report, progress: Progress | None
) -> Path | None:
    """Write one clip's file and return it; None when the user's folder has none for it."""
    source = Path(clip.source) / clip.path
    stem = project.inputs_path / arguments.column / f"{clip.path}.{arguments.kind}"
    if arguments.kind == "files":
        file = _own_file(Path(arguments.folder or ""), clip)
        if file is None or not arguments.invert:
            return file
        return _drawn(file, is_image(file), stem, pictures.inverted(), report, progress)
    if arguments.kind == "low_pass":
        target = stem.with_name(f"{stem.name}.mov")
        write_copies(source, [Stretch(target)], MediaChange(low_pass_hz=arguments.cutoff_hz, blind=True), progress)
        return target
    if arguments.column == "audio_mask":
        return _write_level(stem.with_name(f"{stem.name}.wav"), clip, _spans_of(clip, arguments))
    still = clip.kind == "image" or arguments.kind == "boxes"  # a box that stands still needs one picture
    return _drawn(source, still, stem, _draw(clip, arguments, report), report, progress)


def _draw(clip: Clip, arguments: InputsArguments, report: Report) -> Draw:
    """The drawing of one clip. A random one follows from the seed and the clip's content alone."""
    seed = [arguments.seed, int((clip.sha256 or "0")[:12], 16)]
    kind = arguments.kind
    if kind == "blur":
        return pictures.blur(arguments.blur or 0)
    if kind == "downscale":
        return pictures.downscale(arguments.factor or 1)
    if kind == "boxes":
        return pictures.boxes(arguments.boxes or [])
    if kind in ("random_boxes", "random_brushes"):
        make = pictures.random_box if kind == "random_boxes" else pictures.random_brush
        return make(arguments.share or 0, seed, clip.duration_s)
    if kind in ("depth", "matte", "pose"):
        return _by_model(clip, arguments, report)
    plain = {"edges": pictures.edges, "grayscale": pictures.grayscale, "luminance": pictures.luminance}
    return plain[kind]()


def _by_model(clip: Clip, arguments: InputsArguments, report: Report) -> Draw:
    from tools.inspect.inputs import models

    folder = Path(arguments.model or "").expanduser()
    if arguments.kind == "pose":
        return models.pose(folder)
    if arguments.kind == "matte":
        # a reference shows what was cut out in white; in a mask it is what is generated, so black
        shown = arguments.column == "reference_video"
        return models.matte(folder, arguments.label or "", inside=255 if shown != arguments.invert else 0)
    file, rate = Path(clip.source) / clip.path, report.summary.frame_rate
    times = (
        [0.0] if clip.kind == "image" else [clip.duration_s * index / DEPTH_SAMPLES for index in range(DEPTH_SAMPLES)]
    )
    samples = [read_frames(file, time_s, 1, rate, clip.width or 32, clip.height or 32)[0] for time_s in times]
    return models.depth(folder, samples)


def _drawn(source: Path, still: bool, stem: Path, draw: Draw, report: Report, progress: Progress | None) -> Path:
    """Draw every picture of a video, or the first of a still, into a file beside its clip's others."""
    if not still:
        target = stem.with_name(f"{stem.name}.mov")
        write_copies(source, [Stretch(target)], MediaChange(draw=draw, silent=True), progress)
        return target
    from PIL import Image

    from trainer_core.data.media.probe import probe

    seen = probe(source)
    assert seen.width is not None
    assert seen.height is not None
    picture = read_frames(source, 0.0, 1, report.summary.frame_rate, seen.width, seen.height)[0]
    target = stem.with_name(f"{stem.name}.png")
    with replacing(target) as temporary:
        Image.fromarray(draw(picture, 0.0)).save(temporary, format="PNG")
    return target


def _own_file(folder: Path, clip: Clip) -> Path | None:
    """The user's file for a clip: its relative path under the folder with any ending, else its name alone."""
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise ConfigError(f"There is no folder {displayed(str(folder))}.", "Name the folder with the files.")
    relative = Path(clip.path)
    for place in dict.fromkeys((folder / relative.parent, folder)):
        if place.is_dir():
            matching = sorted(path for path in place.iterdir() if path.stem == relative.stem and path.is_file())
            if matching:
                return matching[0]
    return None


def _spans_of(clip: Clip, arguments: InputsArguments) -> list[tuple[float, float]]:
    if arguments.kind == "spans":
        return list(arguments.spans or [])
    noise = np.random.default_rng([arguments.seed, int((clip.sha256 or "0")[:12], 16)])
    length_s = (arguments.share or 0) * clip.duration_s
    start_s = float(noise.uniform(0, clip.duration_s - length_s))
    return [(start_s, start_s + length_s)]


def _write_level(target: Path, clip: Clip, spans: list[tuple[float, float]]) -> Path:
    """Write an audio mask: full level is kept, silence is generated; as long as the clip, on its clock."""
    level = np.full((round(clip.duration_s * MASK_RATE_HZ) + MASK_RATE_HZ // 10, 2), 32767, "<i2")
    for start_s, end_s in spans:
        level[round(start_s * MASK_RATE_HZ) : round(end_s * MASK_RATE_HZ)] = 0
    with replacing(target) as temporary, wave.open(str(temporary), "wb") as file:
        file.setparams((2, 2, MASK_RATE_HZ, 0, "NONE", ""))
        file.writeframes(level.tobytes())
    return target


def _record(clip: Clip, arguments: InputsArguments, file: str, recipe: _Recipe) -> Input:
    source = Path(clip.source) / clip.path
    size, mtime_ns = state_of(source)
    return Input(
        source=clip.source,
        path=clip.path,
        sha256=clip.sha256 or file_digest(source),
        size=size,
        mtime_ns=mtime_ns,
        column=arguments.column,
        file=file,
        choice=recipe.words(arguments),
    )


def _keep(project: Project, record: Input) -> None:
    key = (record.source, record.path, record.column)
    others = [one for one in read_inputs(project) if (one.source, one.path, one.column) != key]
    write_inputs(project, [*others, record])


def _inspect_again(project: Project, report: Report, progress: Progress | None) -> str:
    from tools.inspect.tool import InspectArguments, inspect_clips

    return inspect_clips(project, InspectArguments(frame_rate=report.summary.frame_rate), progress).sentence


INPUT_TOOLS: list[Tool] = [
    Tool(
        "make_inputs",
        make_inputs,
        InputsArguments,
        needs_approval="change",
        preview=preview_inputs,
        paths={**as_given("folder"), **as_given("model")},
    )
]
