"""The draft node's memory tool: what a training takes, by arithmetic, and which cards hold it."""

from typing import Annotated, Any

from pydantic import Field

from tools.project import Progress, Project
from tools.spec import Tool
from trainer_core.config import TrainingConfig, load_config
from trainer_core.config_paths import resolve_paths
from trainer_core.data.buckets import Bucket, parse_buckets
from trainer_core.errors import ConfigError
from trainer_core.memory.cell import Version
from trainer_core.memory.estimate import CARDS_GB
from trainer_core.memory.ladder import Proposal
from trainer_core.memory.plan import MemoryPlan, check_known, plan, smallest_steps
from trainer_core.strict import Strict


class MemoryArguments(Strict):
    """Settings to estimate for; null takes the project's config and its largest bucket."""

    bucket: Annotated[str | None, Field(description="WxHxF, such as 768x448x89.")] = None
    version: Annotated[str | None, Field(description="2.0, 2.3 or 2.5; null reads it off the model.")] = None


class Saving(Strict):
    """One switch to set so that a card holds the training; `saves_bytes`: estimated, after the switches before it."""

    rung: str
    changes: dict[str, Any]
    words: str
    cost: str
    exact: bool
    saves_bytes: int = 0


class MemoryResult(Strict):
    """Estimated bytes, FLOPs a step, and the cards by GB. All is arithmetic: `ltx-agent rehearse` measures.

    `encoding_peak_bytes`: the device's while captions are encoded, before the training; cards that don't `encodes`
    leave the text encoder to the CPU. `savings`: for the cards that don't hold all of it as it is.
    """

    version: str
    sample: str
    device_peak_bytes: int
    host_peak_bytes: int
    disk_bytes: int
    flops_per_step: int
    encoding_peak_bytes: int
    parts: dict[str, int]
    fits: dict[str, bool]
    encodes: dict[str, bool]
    savings: dict[str, list[Saving] | None]
    notes: list[str]
    basis: str = "estimated"


def plan_memory(
    project: Project,
    arguments: MemoryArguments,
    _progress: Progress | None = None,
) -> MemoryResult:
    """Estimate what the project's training takes: peak device memory by part, host memory, disk, FLOPs a step.

    `fits` says which cards hold it as it is (16 to 141 GB); `savings` names the switches to set for those that don't,
    null where none suffices. It takes one second and needs no GPU; nothing is measured.
    """
    config = resolve_paths(load_config(project.config_path), project.path)
    return reckon(config, arguments)


def reckon(config: TrainingConfig, arguments: MemoryArguments) -> MemoryResult:
    """The same for any config, its paths absolute."""
    bucket = _bucket(arguments.bucket)
    version = None if arguments.version is None else check_known(arguments.version)
    planned = plan(config, bucket, version)
    return MemoryResult(
        version=planned.cell.version,
        sample=planned.worst,
        device_peak_bytes=planned.estimate.device_peak_bytes,
        host_peak_bytes=planned.estimate.host_peak_bytes,
        disk_bytes=planned.disk_bytes,
        flops_per_step=planned.estimate.flops_per_step,
        encoding_peak_bytes=planned.estimate.encoding_peak_bytes,
        parts=planned.estimate.parts,
        fits=planned.estimate.fits,
        encodes=planned.estimate.encodes,
        savings=_savings(config, planned, bucket, version),
        notes=planned.notes,
    )


def _savings(
    config: TrainingConfig, planned: MemoryPlan, bucket: Bucket | None, version: Version | None
) -> dict[str, list[Saving] | None]:
    found = planned.estimate
    small = [card for card in CARDS_GB if not (found.fits[str(card)] and found.encodes[str(card)])]
    return {
        str(card): None if steps is None else [_saving(*step) for step in steps]
        for card, steps in smallest_steps(config, small, bucket, version).items()
        if steps != []
    }


def _saving(step: Proposal, saves_bytes: int) -> Saving:
    return Saving(
        rung=step.rung,
        changes={key: new for key, (_, new) in step.changes.items()},
        words=step.words,
        cost=step.cost,
        exact=step.exact,
        saves_bytes=saves_bytes,
    )


def _bucket(spelled: str | None) -> Bucket | None:
    if spelled is None:
        return None
    buckets = parse_buckets(spelled)
    if len(buckets) != 1:
        raise ConfigError(f"`{spelled}` are several buckets.", "Name one.")
    return buckets[0]


MEMORY_TOOL = Tool("plan_memory", plan_memory, MemoryArguments)
