"""One annotated YAML an objective, drafted by the tools themselves from the clips of make_clips.py.

    python examples/make_configs.py OUT

examples/configs/ holds what it writes. The model is tiny: another model, other clips or a card give other values, each
with its reason in the same place.
"""

import argparse
import tempfile
from pathlib import Path

from tools.caption.tool import CaptionArguments, caption_clips
from tools.draft.draft import DraftArguments
from tools.draft.tool import draft_config
from tools.inspect.inputs.tool import InputsArguments, make_inputs
from tools.inspect.tool import InspectArguments, inspect_clips
from tools.project import Project, ProjectFacts
from trainer_core.objective import OBJECTIVE_NAMES

GIVEN = ("v2v_ic", "a2a_ic", "av2av_ic", "video_inpainting", "audio_inpainting")
"""The objectives that need a file beside each clip."""
INPUTS = (
    InputsArguments(column="reference_video", kind="edges"),
    InputsArguments(column="reference_audio", kind="low_pass", cutoff_hz=1000),
    InputsArguments(column="video_mask", kind="boxes", boxes=[(0.25, 0.25, 0.75, 0.75)]),
    InputsArguments(column="audio_mask", kind="spans", spans=[(0.5, 1.0)]),
)


def make_configs(clips: Path, out: Path) -> list[Path]:
    """Draft every objective for `clips` into `out`; return the files. What lies between is written to a folder of its
    own and removed.
    """
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Project(Path(folder))
        project.write_facts(ProjectFacts(sources=[str(clips)]))
        inspect_clips(project, InspectArguments())
        caption_clips(project, CaptionArguments(captioner="measured"))
        written = [_drafted(project, name, out) for name in OBJECTIVE_NAMES if name not in GIVEN]
        for inputs in INPUTS:
            make_inputs(project, inputs)
        return written + [_drafted(project, name, out) for name in GIVEN]


def _drafted(project: Project, objective: str, out: Path) -> Path:
    draft_config(project, DraftArguments(objective=objective))
    path = out / f"{objective}.yaml"
    path.write_bytes(project.config_path.read_bytes())
    return path


if __name__ == "__main__":
    from make_clips import make_clips

    parser = argparse.ArgumentParser(description="Draft one annotated YAML an objective.")
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        make_clips(Path(made) / "clips", 6)
        for config in make_configs(Path(made) / "clips", arguments.out):
            print(config)
