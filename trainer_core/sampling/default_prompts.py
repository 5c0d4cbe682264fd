"""Default prompts of a run: captions it trained on, one it never saw, foreign prompts.

The conditions of the objective are filled with the same clips' files. No torch.
"""

from pathlib import Path

from trainer_core.config import TrainingConfig
from trainer_core.data.windows import Window, read_windows, with_trigger
from trainer_core.errors import ConfigError
from trainer_core.objective import OCCASIONAL, ModalityObjective, Objective, objective_of, reference_column
from trainer_core.sampling.prompts import Wanted
from trainer_core.sections.validation import (
    AudioToVideoSample,
    FirstFrameSample,
    MaskSample,
    PrefixSample,
    ReferenceSample,
    SampleCondition,
    SpatialCropSample,
    SuffixSample,
    ValidationSample,
    ValidationSection,
    VideoToAudioSample,
)

FOREIGN_PROMPTS = (
    "A glass of water stands on a wooden table beside a window. The camera moves slowly closer while dust floats in "
    "the sunlight. A clock ticks, and outside a bird calls.",
    "A night train leaves a small station in the rain. The static wide shot shows its lit windows sliding past wet "
    "platforms. Wheels clatter and the rain drums on the roof.",
)
"""Written for no dataset in particular: what the adapter does where it was not trained."""
AUDIO_LATENTS_A_SECOND = 25
TIME_FACTOR = 8


def run_section(config: TrainingConfig) -> ValidationSection:
    """The `validation:` section of a run as a sampler takes it: its objective's roles, its training's size and rate."""
    objective = objective_of(config.strategy)
    section, ours = config.validation, config.ltx_agent
    window = _first(config, "train")
    dims = section.video_dims
    rate = ours.frame_rate or section.frame_rate
    if window is not None and window.bucket is not None:
        dims = (window.bucket.width, window.bucket.height, window.bucket.frames)
    elif window is not None:
        dims = (dims[0], dims[1], round(window.duration_s * rate) // TIME_FACTOR * TIME_FACTOR + 1)
    return section.model_copy(
        update={
            "samples": [],
            "video_dims": dims,
            "frame_rate": rate,
            "generate_video": objective.video.generated,
            "generate_audio": objective.audio.generated,
        }
    )


def gallery(config: TrainingConfig) -> tuple[list[Wanted], list[str]]:
    """Return the samples to make of a run, and what can't be shown: one of each kind, foreign prompts two.

    Raises ConfigError when the objective needs files that no dataset of the run names.
    """
    objective, seed = objective_of(config.strategy), config.validation.seed
    trained, unseen = _first(config, "train"), _first(config, "heldout")
    wanted: list[Wanted] = []
    missing = []
    if trained is not None:
        wanted.append(Wanted(sample_of(trained, objective, trained.caption, config), seed, "in_distribution"))
    else:
        missing.append("The run names no dataset file, so no caption it trained on is at hand.")
    if unseen is not None:
        wanted.append(Wanted(sample_of(unseen, objective, unseen.caption, config), seed, "held_out"))
    elif trained is not None:
        missing.append("No clip was held out, so there is no held-out prompt.")
    for prompt in FOREIGN_PROMPTS:
        text = with_trigger(prompt, config.ltx_agent.trigger)
        if trained is not None:
            sample = sample_of(trained, objective, text, config)
        elif needs_files(objective):
            raise ConfigError(
                "This objective is sampled from a clip, and the run names no dataset to take one from.",
                "Give a prompt with --prompt and the files with --condition.",
            )
        else:
            sample = ValidationSample(prompt=text)
        wanted.append(Wanted(sample, seed, "out_of_distribution"))
    return wanted, missing


def _first(config: TrainingConfig, split: str) -> Window | None:
    if config.ltx_agent.dataset is None or not Path(config.ltx_agent.dataset).exists():
        return None
    return next((window for window in read_windows(config) if window.split == split), None)


def needs_files(objective: Objective) -> bool:
    sides = (objective.video, objective.audio)
    return any(
        side.role == "frozen" or any(condition.type != "first_frame" for condition in side.conditions) or _starts(side)
        for side in sides
    )


def _starts(side: ModalityObjective) -> bool:
    """True if its samples usually begin with a given frame."""
    first_frame = side.condition("first_frame")
    return first_frame is not None and first_frame.probability >= OCCASIONAL


def sample_of(window: Window, objective: Objective, prompt: str, config: TrainingConfig) -> ValidationSample:
    """A sample with the objective's conditions, taken from the files of one training sample."""
    conditions: list[SampleCondition] = []
    if objective.audio.role == "frozen":
        conditions.append(AudioToVideoSample(type="audio_to_video", audio=str(window.sound)))
    if objective.video.role == "frozen":
        conditions.append(VideoToAudioSample(type="video_to_audio", video=str(window.media)))
    conditions += _side_conditions("video", objective.video, window, config)
    conditions += _side_conditions("audio", objective.audio, window, config)
    return ValidationSample(prompt=prompt, conditions=conditions)


def _side_conditions(
    name: str, side: ModalityObjective, window: Window, config: TrainingConfig
) -> list[SampleCondition]:
    found: list[SampleCondition] = []
    given = str(window.media if name == "video" else window.sound)
    references = 0
    for condition in side.conditions:
        if condition.probability < OCCASIONAL:
            continue  # training gives it now and then: it is no part of what a sample is asked for
        if condition.type == "first_frame":
            found.append(FirstFrameSample(type="first_frame", image_or_video=given))
        elif condition.type in ("prefix", "suffix"):
            kind = PrefixSample if condition.type == "prefix" else SuffixSample
            frames = condition.temporal_boundary
            if name == "audio":
                length = {"duration": frames / AUDIO_LATENTS_A_SECOND}
            else:
                ahead = frames - 1 if condition.type == "prefix" else frames
                length = {"num_frames": ahead * TIME_FACTOR + (condition.type == "prefix")}
            found.append(kind.model_validate({"type": condition.type, name: given, **length}))
        elif condition.type == "spatial_crop":
            found.append(SpatialCropSample(type="spatial_crop", video=given, spatial_region=condition.spatial_region))
        elif condition.type == "mask":
            mask = str(window.input(f"{name}_mask"))
            found.append(MaskSample.model_validate({"type": "mask", name: given, "mask": mask}))
        else:
            scales = {}
            if name == "video":
                ours = config.ltx_agent
                scales = {
                    "downscale_factor": ours.reference_spatial_scale,
                    "temporal_scale_factor": ours.reference_temporal_scale,
                    "include_in_output": True,
                }
            references += 1
            path = str(window.input(reference_column(name, references)))
            found.append(ReferenceSample.model_validate({"type": "reference", name: path, **scales}))
    return found
