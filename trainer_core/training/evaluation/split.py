"""Split into training and held-out samples: the dataset's own, or the clips that the config names."""

from trainer_core.config import TrainingConfig
from trainer_core.data.samples import SampleFiles
from trainer_core.data.windows import training_windows
from trainer_core.errors import ConfigError, DataError


def heldout_names(config: TrainingConfig) -> set[str]:
    """Names of the samples to hold out, without `.pt`; empty when neither dataset nor config holds any out."""
    named = set(config.ltx_agent.evaluation.clips)
    if config.ltx_agent.dataset is None:
        return named
    return named | {window.name for window in training_windows(config) if window.split == "heldout"}


def divide(samples: list[SampleFiles], heldout: set[str]) -> tuple[list[SampleFiles], list[SampleFiles]]:
    """Return (train, held out). A name stands for the sample and for all its windows.

    Raises ConfigError for a name that is no sample, DataError when nothing is left to train on.
    """
    held = [sample for sample in samples if _names(sample) & heldout]
    unknown = heldout - {name for sample in held for name in _names(sample)}
    if unknown:
        raise ConfigError(
            f"`{min(unknown)}` is to be held out but is no sample of this dataset.",
            "Correct ltx_agent.evaluation.clips: names are paths under the latents folder, without `.pt`.",
        )
    held_names = {sample.name for sample in held}
    train = [sample for sample in samples if sample.name not in held_names]
    if not train:
        raise DataError(
            f"All {len(samples)} samples are held out: nothing is left to train on.", "Hold fewer clips out."
        )
    return train, held


def _names(sample: SampleFiles) -> set[str]:
    """`a/clip.mp4.000.pt` is named by `a/clip.mp4.000` and, as one of the clip's windows, by `a/clip.mp4`."""
    stem = sample.name.removesuffix(".pt")
    clip, _, window = stem.rpartition(".")
    return {stem, clip} if window.isdigit() else {stem}
