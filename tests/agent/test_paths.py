"""No path outside the roots: each argument of a tool that can hold text is a declared path, or is known to be none.

A new argument fails here until it is declared in its tool's `paths` or listed in NO_PATHS with what it is.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from langchain_core.messages import AIMessage

from agent.approvals.path_guard import refuse_foreign_paths
from agent.context import AgentContext
from agent.session.events import Returned
from agent.session.session import open_session
from agent.state import words_of
from tools.project import Project
from tools.registry import node_tools
from tools.spec import Tool
from trainer_core.config import TrainingConfig
from trainer_core.config_paths import paths_of
from trainer_core.errors import ConfigError
from trainer_core.files import write_text
from trainer_core.run_folder import RunFolder, RunStatus, create_run_folder

TOOLS = {tool.name: tool for tools in node_tools().values() for tool in tools}
MINIMAL = """\
model: {model_path: tiny}
lora: {rank: 8}
training_strategy: {name: flexible, video: {is_generated: true, latents_dir: latents}}
data: {preprocessed_data_root: .precomputed}
"""
CLIPS = "names that are looked up in the report"
RUN = "an id that is looked up among the project's runs"
NO_PATHS = {
    ("inspect_clips", "buckets"): "sizes, parsed",
    ("remedy_clips", "clips"): CLIPS,
    ("undo_remedies", "clips"): CLIPS,
    ("make_inputs", "clips"): CLIPS,
    ("make_inputs", "label"): "a class of the segmenting model",
    ("caption_clips", "trigger"): "a word of captions",
    ("caption_rest", "trigger"): "a word of captions",
    ("retune_captions", "note"): "words for the captioner",
    ("fix_captions", "clips"): CLIPS,
    ("fix_captions", "ids"): "ids that are looked up among the findings",
    ("write_caption", "clip"): CLIPS,
    ("write_caption", "caption"): "a caption",
    ("download_captioner", "model"): "OWNER/NAME on the hub, by its pattern; downloading asks the person",
    ("draft_config", "held_out_clips"): CLIPS,
    ("draft_config", "skip"): CLIPS,
    ("draft_config", "only"): CLIPS,
    ("draft_config", "said"): "words of the plan",
    ("draft_config", "forget"): "names of this tool's own arguments",
    ("project_facts", "name"): "a value, a kind of cost or a clip, looked up",
    ("change_config", "name"): "a key that is looked up in the schema",
    ("change_config", "reason"): "words",
    ("plan_memory", "bucket"): "a size, parsed",
    ("plan_memory", "version"): "a version, looked up",
    ("run_status", "run"): RUN,
    ("stop_training", "run"): RUN,
    ("resume_training", "run"): RUN,
    ("examine_adapter", "run"): RUN,
    ("sample_adapter", "run"): RUN,
    ("sample_adapter", "prompts"): "prompts",
    ("sample_adapter", "negative_prompt"): "a prompt",
    ("sample_adapter", "size"): "a size, parsed",
    ("export_adapter", "run"): RUN,
    ("export_adapter", "checkpoint"): "a name, looked up in the run's checkpoints",
    ("export_adapter", "base_licence"): "words of the model card",
    ("export_adapter", "data_licence"): "words of the model card",
    ("push_to_hub", "run"): RUN,
    ("push_to_hub", "repo_id"): "OWNER/NAME on the hub; pushing asks the person",
}
FOREIGN: dict[tuple[str, str], dict[str, Any]] = {
    ("make_inputs", "folder"): {"column": "video_mask", "kind": "files", "folder": "/etc"},
    ("make_inputs", "model"): {"column": "reference_video", "kind": "depth", "model": "/root/model"},
    ("caption_clips", "captioner"): {"captioner": "local:/etc"},
    ("caption_clips", "speech"): {"speech": "local:../../model"},
    ("caption_rest", "captioner"): {"captioner": "local:~/model"},
    ("caption_rest", "speech"): {"speech": "local:/etc"},
    ("change_config", "value"): {"name": "output_dir", "value": "../../elsewhere"},
    ("resume_training", "settings"): {
        "settings": {
            "validation.samples": [
                {"prompt": "x", "conditions": [{"type": "first_frame", "image_or_video": "/etc/secret.png"}]}
            ]
        }
    },
    ("examine_adapter", "file"): {"file": "/etc/passwd"},
    ("examine_adapter", "model"): {"model": "/etc"},
    ("compare_adapters", "first"): {"first": "/etc/passwd", "second": "PROJECT/b"},
    ("compare_adapters", "second"): {"first": "PROJECT/b", "second": "/etc/passwd"},
    ("edit_adapter", "file"): {"file": "/etc/passwd", "output": "PROJECT/x"},
    ("edit_adapter", "output"): {"file": "PROJECT/a", "output": "PROJECT/../x"},
    ("edit_adapter", "merge"): {"file": "PROJECT/a", "output": "PROJECT/x", "merge": {"/root/c": 1.0}},
    ("sample_adapter", "adapters"): {"adapters": ["/etc/passwd=0.5"]},
    ("sample_adapter", "conditions"): {"prompts": ["x"], "conditions": ["prefix=PROJECT/a.mp4,video=/etc/secret"]},
}


def may_hold_text(schema: dict[str, Any], definitions: dict[str, Any]) -> bool:
    """Whether a value of this schema can hold words of the model's own choice: any text that is no fixed set."""
    if "$ref" in schema:
        return may_hold_text(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "enum" in schema or "const" in schema:
        return False
    parts = [
        *schema.get("anyOf", []),
        *schema.get("oneOf", []),
        *schema.get("allOf", []),
        *schema.get("prefixItems", []),
    ]
    parts += [
        schema[key] for key in ("items", "additionalProperties", "propertyNames") if isinstance(schema.get(key), dict)
    ]
    parts += schema.get("properties", {}).values()
    keys_are_free = schema.get("type") == "object" and "properties" not in schema and "propertyNames" not in schema
    return (
        schema.get("type") == "string"
        or keys_are_free
        or (not parts and "type" not in schema)
        or any(may_hold_text(part, definitions) for part in parts)
    )


def arguments_with_text() -> Iterator[tuple[str, str]]:
    for tool in TOOLS.values():
        schema = tool.arguments.model_json_schema()
        for name, part in schema.get("properties", {}).items():
            if may_hold_text(part, schema.get("$defs", {})):
                yield tool.name, name


def test_every_argument_that_can_hold_a_path_is_declared_or_known_to_be_none() -> None:
    found = set(arguments_with_text())
    declared = {(tool.name, name) for tool in TOOLS.values() for name in tool.paths}
    assert declared <= found, "a path is declared of an argument that isn't there"
    assert not declared & set(NO_PATHS)
    assert found - declared - set(NO_PATHS) == set(), "declare it in Tool.paths, or say in NO_PATHS what it is"
    assert set(NO_PATHS) - found == set(), "these arguments are gone"
    assert set(FOREIGN) == declared, "each declared path is tried below"


def test_the_walk_sees_text_wherever_it_may_hide() -> None:
    texts: list[dict[str, Any]] = [
        {"type": "string"},
        {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "string"}}]},
        {"type": "object", "additionalProperties": {"type": "number"}},
        {},
        {"$ref": "#/$defs/A"},
    ]
    assert all(may_hold_text(schema, {"A": {"properties": {"b": {"type": "string"}}}}) for schema in texts)
    assert not may_hold_text({"anyOf": [{"enum": ["a"], "type": "string"}, {"type": "number"}]}, {})


@pytest.fixture
def trained(project: Project) -> RunFolder:
    """A run of a small config, and the same config edited by the person as the project's."""
    write_text(project.config_path, MINIMAL)
    run = create_run_folder(project.runs_path)
    write_text(run.config_path, MINIMAL)
    run.write_status(RunStatus("done", step=1, steps=1))
    return run


@pytest.mark.parametrize(("tool", "argument"), sorted(FOREIGN))
def test_a_foreign_path_is_refused_before_anything_runs(
    scripted: Callable[..., AgentContext], project: Project, trained: RunFolder, tool: str, argument: str
) -> None:
    """Through the graph, as a model would try it: the tool isn't run and no card offers it."""
    stage = next(stage for stage, tools in node_tools().items() if tool in [one.name for one in tools])
    given = json.loads(json.dumps(FOREIGN[tool, argument]).replace("PROJECT", str(project.path)))
    go = {"name": "go_to", "args": {"stage": stage}, "id": "g"}
    call = {"name": tool, "args": given, "id": "x"}
    replies = (AIMessage("", tool_calls=[go]), AIMessage("", tool_calls=[call]), AIMessage("I can't."))

    def never(*_: Any) -> Any:
        raise AssertionError(f"{tool} ran")

    tools = {name: [replace(one, function=never) for one in found] for name, found in node_tools().items()}
    with open_session(replace(scripted(*replies), tools=tools)) as session:
        events = list(session.say("and/or look at it .. as you like"))
        assert session.pending() is None
    refusals = [event.refusal for event in events if isinstance(event, Returned) and event.tool == tool]
    assert len(refusals) == 1
    assert "lies outside the project" in refusals[0]


def test_every_path_of_the_training_config_is_walked() -> None:
    """What names a file in the schema is in `paths_of`, so that a changed config can't name one unseen."""
    everything = {
        "model": {
            "model_path": "P/1",
            "text_encoder_path": "P/2",
            "video_vae_path": "P/3",
            "audio_vae_path": "P/4",
            "load_checkpoint": "P/5",
        },
        "data": {"preprocessed_data_root": "P/6"},
        "output_dir": "P/7",
        "ltx_agent": {"dataset": "P/8"},
        "validation": {
            "samples": [
                {
                    "prompt": "x",
                    "conditions": [
                        {"type": "first_frame", "image_or_video": "P/9"},
                        {"type": "reference", "video": "P/10"},
                        {"type": "mask", "video": "P/11", "mask": "P/12"},
                        {"type": "audio_to_video", "audio": "P/13"},
                    ],
                }
            ]
        },
    }
    config = TrainingConfig.model_validate({**yaml.safe_load(MINIMAL), **everything})
    assert sorted(paths_of(config), key=lambda path: int(path[2:])) == [f"P/{number}" for number in range(1, 14)]
    named = {name for name in _keys(TrainingConfig.model_json_schema()) if name.endswith(("_path", "_root", "_file"))}
    assert named == {"model_path", "text_encoder_path", "video_vae_path", "audio_vae_path", "preprocessed_data_root"}


def _keys(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for part in schema.values():
            yield from _keys(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from _keys(part)


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        ("take the masks in /data/masks, please", True),
        ('take "/data/masks"', True),
        ("they are in /data/masks.", True),
        ("(/data/masks)", True),
        ("take /data/masks/red", False),
        ("take /other/data/masks", False),
        ("take /data/masks2", False),
        ("and / or .. something", False),
        ("", False),
    ],
)
def test_only_the_very_path_that_the_person_spelled_is_theirs(project: Project, words: str, allowed: bool) -> None:
    arguments = TOOLS["make_inputs"].arguments(column="video_mask", kind="files", folder="/data/masks")
    if allowed:
        refuse_foreign_paths(TOOLS["make_inputs"], arguments, project, [words])
    else:
        with pytest.raises(ConfigError, match="lies outside"):
            refuse_foreign_paths(TOOLS["make_inputs"], arguments, project, [words])


@pytest.mark.parametrize("folder", ["/", "..", ".", "~", "//", "../.."])
def test_words_never_give_a_bare_root(project: Project, folder: str) -> None:
    arguments = TOOLS["make_inputs"].arguments(column="video_mask", kind="files", folder=folder)
    with pytest.raises(ConfigError, match="lies outside"):
        refuse_foreign_paths(TOOLS["make_inputs"], arguments, project, [f"this {folder} that"])


def test_a_link_in_the_project_leads_nowhere_else(project: Project, tmp_path: Path) -> None:
    (project.path / "inside").symlink_to(tmp_path)
    arguments = TOOLS["make_inputs"].arguments(
        column="video_mask", kind="files", folder=str(project.path / "inside" / "masks")
    )
    with pytest.raises(ConfigError, match="lies outside"):
        refuse_foreign_paths(TOOLS["make_inputs"], arguments, project, [])


def test_what_the_model_called_before_is_not_the_persons_word() -> None:
    earlier = ["person: look at my adapter", 'called edit_adapter {"file": "/etc/passwd"}', "edit_adapter failed: x"]
    assert words_of(earlier) == ["look at my adapter"]


def test_a_model_of_the_hub_is_no_path(project: Project) -> None:
    tool: Tool = TOOLS["caption_clips"]
    refuse_foreign_paths(tool, tool.arguments(captioner="local:Qwen/Qwen3-VL-4B-Instruct"), project, [])
    facts = project.facts.model_copy(update={"captioner": "local:/models/vl"})
    project.write_facts(facts)
    refuse_foreign_paths(tool, tool.arguments(captioner="local:/models/vl"), project, [])  # the project's own
