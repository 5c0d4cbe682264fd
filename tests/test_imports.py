"""What starting costs: the command line and the chat load no model library, and --help nothing but typer."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "diffusers", "transformers", "peft", "accelerate", "av", "cv2", "matplotlib")

LOADED = """
import sys
{code}
print("\\n" + " ".join(sorted({{name.split(".")[0] for name in sys.modules}})))
"""


def loaded_by(code: str, folder: Path) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after `code`."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    return set(ran.stdout.strip().split("\n")[-1].split())


def running(arguments: list[str]) -> str:
    return f"""
from agent.cli.main import main
sys.argv = ["ltx-agent", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize(
    "code",
    [
        running(["--help"]),
        running(["status"]),
        running(["train", "--help"]),
        "import agent.graph, agent.ui.plain.chat, agent.headless.prepare, agent.planner.chat_model",
    ],
)
def test_no_model_library_is_loaded(code: str, tmp_path: Path) -> None:
    assert not loaded_by(code, tmp_path) & set(HEAVY)


def test_status_of_a_run_loads_no_torch_and_no_chat(tmp_path: Path) -> None:
    from trainer_core.run_folder import RunStatus, create_run_folder

    run = create_run_folder(tmp_path / "runs")
    run.write_status(RunStatus("done", step=3, steps=3))
    loaded = loaded_by(running(["status", str(run.path)]), tmp_path)
    assert not loaded & {*HEAVY, "langchain_core", "langgraph"}


def test_help_loads_typer_and_what_typer_loads(tmp_path: Path) -> None:
    typer_and_help = """
import typer
app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
app.command()(lambda: None)
try:
    app(["--help"])
except SystemExit:
    pass
"""
    ours = {"agent"}
    finder = {name for name in loaded_by("", tmp_path) if name.startswith("__editable__")}
    assert loaded_by(running(["--help"]), tmp_path) - loaded_by(typer_and_help, tmp_path) <= ours | finder


def test_importing_the_command_line_does_nothing(tmp_path: Path) -> None:
    heads = "agent.cli.main, agent.cli.verbs.table, agent.ui.plain.chat, agent.graph, agent.headless.prepare"
    loaded_by(f"import {heads}, tools.spec, prompts.render", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_plain_talk_and_the_verbs_load_no_textual(tmp_path: Path) -> None:
    faces = "agent.ui.plain.chat, agent.session.session, agent.headless.prepare, agent.cli.verbs.table"
    code = f"import {faces}, agent.ui.tui.conversation, agent.ui.shared.watch"
    assert "textual" not in loaded_by(code, tmp_path)


def test_the_talk_opens_without_the_table_of_verbs(tmp_path: Path) -> None:
    assert "typer" not in loaded_by("import agent.cli.main, agent.cli.open_chat, agent.ui.tui.open", tmp_path)


def test_the_first_frame_waits_for_no_graph_and_no_numbers(tmp_path: Path) -> None:
    loaded = loaded_by("import agent.ui.tui.open, agent.ui.tui.screens.workbench", tmp_path)
    assert not loaded & {*HEAVY, "langgraph", "langchain_core", "markdown_it", "numpy", "pydantic", "yaml"}


def test_no_modules_import_each_other() -> None:
    """No cycle between modules anywhere, imports within functions included; those for types alone are not counted."""
    import grimp

    graph = grimp.build_graph("agent", "prompts", "tools", "trainer_core", exclude_type_checking_imports=True)
    left = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    while free := {module for module, imported in left.items() if not imported}:  # the rest is in a cycle or above it
        left = {module: imported - free for module, imported in left.items() if module not in free}
    while unused := left.keys() - set().union(*left.values()):
        left = {module: imported for module, imported in left.items() if module not in unused}
    assert sorted(left) == []
