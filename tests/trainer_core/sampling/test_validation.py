"""Samples while training: written once, base beside adapter, a failure is an event, and a kill harms nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from full_card import FullCard

from trainer_core.config import TrainingConfig
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder
from trainer_core.sampling.index import read_index
from trainer_core.sampling.memory_budget import held_bytes
from trainer_core.sampling.prompts import samples_due
from trainer_core.sampling.validation import prepare_samples, rehearse_samples, render_samples
from trainer_core.training.monitoring.status_writer import StatusKeeper
from trainer_core.training.setup import TrainingSession, set_up

SAMPLES = {
    "samples": [{"prompt": "a fox <runs>"}, {"prompt": "the sea", "seed": 0}],
    "video_dims": [64, 32, 9],
    "inference_steps": 2,
    "generate_audio": False,
}


def session_of(config: TrainingConfig, folder: Path) -> TrainingSession:
    return set_up(config, create_run_folder(folder / "runs"))


def render(session: TrainingSession, step: int, **options: Any) -> None:
    with StatusKeeper(session.run, RunStatus("running", stage="training")) as keeper:
        render_samples(session, step, keeper, **options)
        assert keeper.status.stage == "training"


def rehearse(session: TrainingSession) -> None:
    rehearse_samples(session, StatusKeeper(session.run, RunStatus("running")))


def move(session: TrainingSession) -> None:
    """Change the adapter, as training would."""
    generator = torch.Generator().manual_seed(0)
    for parameter in session.parameters:
        parameter.data.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def events(run: RunFolder) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run.events_path.read_text().splitlines()]


def files(run: RunFolder) -> dict[str, bytes]:
    """Every sample and poster by name; page, sheets and index are drawn again as they grow."""
    media = [path for path in run.samples.glob("*/*") if path.name != "sheet.png" and path.parent.name != ".inputs"]
    return {path.relative_to(run.samples).as_posix(): path.read_bytes() for path in media}


@pytest.fixture
def session(config_for: Callable[..., TrainingConfig], tmp_path: Path) -> TrainingSession:
    return session_of(config_for("t2v", {"validation": SAMPLES}), tmp_path)


def test_a_text_encoder_that_finds_no_room_is_told_for_prompts_too(session: TrainingSession) -> None:
    source = FullCard()
    with StatusKeeper(session.run, RunStatus("running")) as keeper:
        prepare_samples(session.config, session.run, source, torch.device("cuda"), keeper)
    assert source.asked == [("cuda", False), ("cpu", False)]
    (said,) = [event["message"] for event in events(session.run) if event["kind"] == "encoding"]
    assert "captions and prompts are encoded on the CPU" in said


def test_base_once_and_the_adapter_at_every_step(session: TrainingSession) -> None:
    before = torch.get_rng_state()
    render(session, 0)
    move(session)
    render(session, 2)
    assert torch.equal(torch.get_rng_state(), before), "training's own randomness must not notice"
    index = read_index(session.run.samples)
    assert index is not None
    assert index.tiny
    assert [(row.step, row.adapter) for row in index.of(index.prompts[0].id)] == [(0, False), (2, True)]
    assert [prompt.seed for prompt in index.prompts] == [42, 0]
    made = files(session.run)
    assert {Path(name).name for name in made} == {
        "base.mp4",
        "base.poster.png",
        "step_00002.mp4",
        "step_00002.poster.png",
    }
    page = (session.run.samples / "index.html").read_text()
    assert "a fox &lt;runs&gt;" in page
    assert "this is noise" in page
    render(session, 2)
    assert files(session.run) == made, "written once"


def test_the_same_seed_gives_the_same_file_and_an_idle_adapter_gives_the_base(
    config_for: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    config = config_for("t2v", {"validation": {**SAMPLES, "samples": SAMPLES["samples"][:1], "generate_audio": True}})
    first, second = session_of(config, tmp_path / "a"), session_of(config, tmp_path / "b")
    for session in (first, second):
        render(session, 1)  # the adapter is still what it was made as: it changes nothing
    assert files(first.run) == files(second.run)
    prompt = read_index(first.run.samples).prompts[0].id  # type: ignore[union-attr]
    posters = [files(first.run)[f"{prompt}/{name}.poster.png"] for name in ("base", "step_00001")]
    assert _pixels(posters[0]) == _pixels(posters[1])


def _pixels(png: bytes) -> bytes:
    import io

    from PIL import Image

    return Image.open(io.BytesIO(png)).tobytes()


def test_a_stop_abandons_the_samples_and_leaves_what_was_there(session: TrainingSession) -> None:
    render(session, 0)
    made = files(session.run)
    move(session)
    render(session, 2, should_stop=lambda: True)
    assert files(session.run) == made
    assert events(session.run)[-1]["kind"] == "samples abandoned"


def test_a_stop_cuts_a_render_at_the_next_sampling_step_or_tile(
    config_for: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    long = {**SAMPLES, "samples": SAMPLES["samples"][:1], "video_dims": [32, 32, 129]}  # two tiles of time
    stages: list[str] = []

    def cut_at(session: TrainingSession, sign: str) -> list[str]:
        stages.clear()
        with StatusKeeper(session.run, RunStatus("running", stage="training")) as keeper:

            def watched(**changes: Any) -> None:
                stages.append(changes.get("stage", ""))
                update(**changes)

            update, keeper.update = keeper.update, watched  # type: ignore[method-assign]
            render_samples(session, 2, keeper, lambda: any(sign in stage for stage in stages))
        assert events(session.run)[-1]["kind"] == "samples abandoned"
        return stages[next(index for index, stage in enumerate(stages) if sign in stage) + 1 :]

    session = session_of(config_for("t2v", {"validation": long}), tmp_path)
    assert cut_at(session, "step 1 of 2") == ["training"], "nothing was begun after it"
    assert cut_at(session, "picture 80 of 129") == ["training"]
    assert not files(session.run), "no half file"
    assert not list(session.run.samples.rglob(".part-*"))
    render(session, 2)
    assert len(files(session.run)) == 4, "what was cut is made later"


def test_too_little_room_is_told_and_training_goes_on(
    config_for: Callable[..., TrainingConfig], tmp_path: Path
) -> None:
    memory = {"ltx_agent": {"memory": {"samples_gb": 0.001}}}
    session = session_of(config_for("t2v", {"validation": SAMPLES, **memory}), tmp_path)
    render(session, 2)
    skipped = [event for event in events(session.run) if event["kind"] == "sample skipped"]
    assert len(skipped) == 2
    assert "ltx_agent.memory.samples_gb is 0.00 GB" in skipped[0]["error"]
    assert not files(session.run)
    with pytest.raises(torch.OutOfMemoryError, match="samples_gb"):
        rehearse(session)


def test_a_sample_that_is_made_already_is_never_told_as_skipped(session: TrainingSession) -> None:
    render(session, 2)
    ours = session.config.ltx_agent
    small = ours.model_copy(update={"memory": ours.memory.model_copy(update={"samples_gb": 0.001})})
    session.config = session.config.model_copy(update={"ltx_agent": small})
    render(session, 2)
    assert "sample skipped" not in {event["kind"] for event in events(session.run)}
    render(session, 4)
    assert [event["step"] for event in events(session.run) if event["kind"] == "sample skipped"] == [4, 4]


def test_room_for_smaller_tiles_alone_is_used(config_for: Callable[..., TrainingConfig], tmp_path: Path) -> None:
    session = session_of(config_for("t2v", {"validation": {**SAMPLES, "video_dims": [96, 64, 97]}}), tmp_path)
    vae = session.source.video_vae(torch.float32)
    held = held_bytes(torch.device("cpu"), [*session.model.parameters(), *session.model.buffers(), *vae.parameters()])
    memory = session.config.ltx_agent.memory.model_copy(update={"samples_gb": (held + 12e6) / 1e9})
    ours = session.config.ltx_agent.model_copy(update={"memory": memory})
    session.config = session.config.model_copy(update={"ltx_agent": ours})
    render(session, 2)
    told = [event for event in events(session.run) if event["kind"] == "samples in smaller tiles"]
    assert told
    assert told[0]["source"] == "ltx_agent.memory.samples_gb"
    assert events(session.run)[-1]["kind"] == "samples"


def test_a_failure_is_an_event_and_training_goes_on(session: TrainingSession) -> None:
    for parameter in session.parameters:
        parameter.data.fill_(float("nan"))
    session.model.train()
    render(session, 2)
    failed = events(session.run)[-1]
    assert failed["kind"] == "samples failed"
    assert "not finite" in failed["error"]
    assert session.model.training, "left as it was found"


def test_what_a_kill_left_half_written_is_cleared(session: TrainingSession) -> None:
    leftover = session.run.samples / ".part-abc.mp4"
    leftover.write_bytes(b"half")
    render(session, 0)
    assert not leftover.exists()


def test_a_full_run_has_its_base_from_step_0_alone(config_for: Callable[..., TrainingConfig], tmp_path: Path) -> None:
    config = config_for("t2a", {"validation": SAMPLES, "model": {"training_mode": "full"}, "lora": None})
    session = session_of(config, tmp_path)
    render(session, 3)
    index = read_index(session.run.samples)
    assert index is not None
    assert [row.adapter for row in index.samples] == [True, True]


def test_when_samples_are_due(config_for: Callable[..., TrainingConfig]) -> None:
    config = config_for("t2v", {"validation": {**SAMPLES, "interval": 3}})
    assert [step for step in range(7) if samples_due(config, step)] == [0, 3, 6]
    skipping = config_for("t2v", {"validation": {**SAMPLES, "interval": None, "skip_initial_validation": True}})
    assert not any(samples_due(skipping, step) for step in range(7))
    assert not samples_due(config_for("t2v"), 0)


def test_a_rehearsal_writes_nothing_and_raises_what_goes_wrong(
    session: TrainingSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearse(session)
    assert read_index(session.run.samples) is None
    assert not files(session.run)

    def out_of_memory(*_: Any) -> Any:
        raise torch.cuda.OutOfMemoryError("too little")

    monkeypatch.setattr("trainer_core.sampling.render.decode_video", out_of_memory)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        rehearse(session)
