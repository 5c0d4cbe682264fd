"""Changes of captions: by hand, by the lint's fixes, by import; each can be taken back. And the way out."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from scripted_openai import Answer, ScriptedOpenAI

from tools.caption.lint.fix import FixArguments, LintArguments, fix_captions, lint_project, preview_fix
from tools.caption.store.captions import read_captions
from tools.caption.store.edit import EditCaptionArguments, edit_caption, write_caption
from tools.caption.store.exchange import (
    ExportCaptionsArguments,
    ImportCaptionsArguments,
    export_captions,
    import_captions,
)
from tools.caption.store.history import UndoCaptionsArguments, read_history, undo_captions
from tools.caption.tool import CaptionArguments, caption_clips
from tools.project import Project
from trainer_core.errors import ConfigError, DataError

GOOD = (
    "A cyclist rides along a narrow street past parked cars, leans into a slow turn and waves at somebody behind the "
    "camera, then rolls to a stop beside a low stone wall under grey, even daylight while the camera follows."
)


@pytest.fixture
def clips_folder(tmp_path: Path, cut_footage: Path) -> Path:
    folder = tmp_path / "clips"
    (folder / "sub").mkdir(parents=True)
    shutil.copy(cut_footage / "carphone.mp4", folder / "phone.mp4")
    shutil.copy(cut_footage / "bikes_1.mp4", folder / "sub" / "bikes.mp4")
    return folder


@pytest.fixture
def captioned(project: Project, clips_folder: Path, write_report: Callable[[], None]) -> Project:
    (clips_folder / "phone.txt").write_text("A man talks on the phone in a car.")
    (clips_folder / "sub" / "bikes.txt").write_text(f"**Scene:** In this video, we see {GOOD}")
    write_report()
    caption_clips(project, CaptionArguments())
    return project


def texts(project: Project) -> dict[str, str]:
    return {row.path: row.caption for row in read_captions(project.captions_path)}


def test_a_caption_by_hand_is_kept_and_can_be_taken_back(captioned: Project) -> None:
    before = texts(captioned)
    write_caption(captioned, EditCaptionArguments(clip="phone.mp4", caption="Mine.\x1b[31m"))
    assert texts(captioned)["phone.mp4"] == "Mine."
    caption_clips(captioned, CaptionArguments())
    assert texts(captioned)["phone.mp4"] == "Mine."
    undone = undo_captions(captioned, UndoCaptionsArguments())
    assert (undone.action, undone.back, undone.left_alone) == ("edit", 1, 0)
    assert texts(captioned) == before


def test_undo_goes_back_step_by_step_and_leaves_later_edits_alone(captioned: Project) -> None:
    write_caption(captioned, EditCaptionArguments(clip="phone.mp4", caption="One."))
    write_caption(captioned, EditCaptionArguments(clip="sub/bikes.mp4", caption="Two."))
    text = captioned.captions_path.read_text().replace('"Two."', '"Three."')
    captioned.captions_path.write_text(text)
    undone = undo_captions(captioned, UndoCaptionsArguments())
    assert (undone.back, undone.left_alone) == (0, 1)
    assert texts(captioned) == {"phone.mp4": "One.", "sub/bikes.mp4": "Three."}
    assert undo_captions(captioned, UndoCaptionsArguments()).back == 1
    assert texts(captioned)["phone.mp4"] == "A man talks on the phone in a car."
    undo_captions(captioned, UndoCaptionsArguments())  # the captioning itself
    with pytest.raises(ConfigError, match="No change"):
        undo_captions(captioned, UndoCaptionsArguments())
    assert [record.action for record in read_history(captioned)] == ["caption", *["edit"] * 2, *["undo"] * 3]


def test_words_are_mended_in_place_and_stay_mended(captioned: Project, clips_folder: Path) -> None:
    found = lint_project(captioned, LintArguments())
    assert {"markdown", "headings"} <= set(found.left["sub/bikes.mp4"])
    result = fix_captions(captioned, FixArguments())
    assert result.mended >= 1
    assert texts(captioned)["sub/bikes.mp4"] == GOOD
    again = caption_clips(captioned, CaptionArguments())  # the sidecar still has the old words: they were mended
    assert (again.written, texts(captioned)["sub/bikes.mp4"]) == (0, GOOD)
    (clips_folder / "sub" / "bikes.txt").write_text("New words beside the clip.")
    caption_clips(captioned, CaptionArguments())
    assert texts(captioned)["sub/bikes.mp4"] == "New words beside the clip."


def test_a_person_s_words_are_mended_only_when_named(captioned: Project) -> None:
    write_caption(captioned, EditCaptionArguments(clip="phone.mp4", caption=f"**Bold** {GOOD}"))
    fix_captions(captioned, FixArguments())
    assert texts(captioned)["phone.mp4"].startswith("**Bold**")
    fix_captions(captioned, FixArguments(clips=["phone.mp4"], ids=["markdown"]))
    assert texts(captioned)["phone.mp4"] == f"Bold {GOOD}"
    with pytest.raises(ConfigError, match="There is no finding"):
        fix_captions(captioned, FixArguments(ids=["nonsense"]))
    with pytest.raises(ConfigError, match="There is no caption"):
        fix_captions(captioned, FixArguments(clips=["nobody.mp4"]))


def test_what_words_cannot_mend_is_written_again_with_a_hint(
    project: Project, endpoint: ScriptedOpenAI, write_report: Callable[[], None]
) -> None:
    write_report()
    endpoint.script = lambda request: (
        Answer(GOOD)
        if "ordinary footage" in str(request["messages"][1])
        else Answer("I'm sorry, I can't help with that.")
    )
    assert caption_clips(project, CaptionArguments(clips="all")).findings["refusal"] == 2
    card = preview_fix(project, FixArguments())
    assert card is not None
    result = fix_captions(project, FixArguments())
    assert result.rewritten == 2
    assert "refusal" not in result.findings
    assert preview_fix(project, FixArguments(rewrite=False)) is None


def test_the_same_words_again_mean_a_person_looked(captioned: Project) -> None:
    row = next(row for row in read_captions(captioned.captions_path) if row.path == "phone.mp4")
    seen = edit_caption(captioned, row.path, row.sha256, row.caption)
    assert (seen.source, seen.needs_review, seen.flags) == ("existing", False, [])
    assert seen.edited_at is not None
    with pytest.raises(ConfigError, match="no caption of"):
        edit_caption(captioned, "other.mp4", row.sha256, "x")
    with pytest.raises(ConfigError, match="empty caption"):
        edit_caption(captioned, row.path, row.sha256, " \x07")


@pytest.mark.parametrize("ending", [".csv", ".json", ".jsonl"])
def test_metadata_goes_out_in_upstream_s_columns_and_comes_back(
    captioned: Project, tmp_path: Path, ending: str
) -> None:
    target = tmp_path / "out" / f"metadata{ending}"
    result = export_captions(captioned, ExportCaptionsArguments(target=str(target)))
    assert (result.captions, result.without) == (2, [])
    text = target.read_text()
    rows = (
        list(csv.DictReader(text.splitlines()))
        if ending == ".csv"
        else (json.loads(text) if ending == ".json" else [json.loads(line) for line in text.splitlines()])
    )
    assert {row["video"] for row in rows} == {"../clips/phone.mp4", "../clips/sub/bikes.mp4"}
    assert all((target.parent / row["video"]).exists() for row in rows)
    target.write_text(text.replace("A man talks", "A woman talks"))
    back = import_captions(captioned, ImportCaptionsArguments(source=str(target)))
    assert back.captions == 1
    row = next(row for row in read_captions(captioned.captions_path) if row.path == "phone.mp4")
    assert (row.source, row.caption) == ("person", "A woman talks on the phone in a car.")
    undo_captions(captioned, UndoCaptionsArguments())
    assert texts(captioned)["phone.mp4"].startswith("A man")


def test_text_files_go_out_under_the_clips_paths_and_come_back(captioned: Project, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    export_captions(captioned, ExportCaptionsArguments(target=str(folder)))
    assert (folder / "phone.txt").read_text() == "A man talks on the phone in a car.\n"
    assert (folder / "sub" / "bikes.txt").exists()
    export_captions(captioned, ExportCaptionsArguments(target=str(folder)))  # the same again is no conflict
    (folder / "phone.txt").write_text("Other words.")
    with pytest.raises(ConfigError, match="say something else"):
        export_captions(captioned, ExportCaptionsArguments(target=str(folder)))
    assert import_captions(captioned, ImportCaptionsArguments(source=str(folder))).captions == 1
    assert texts(captioned)["phone.mp4"] == "Other words."


def test_the_trigger_is_put_in_once_on_the_way_out(captioned: Project, tmp_path: Path) -> None:
    caption_clips(captioned, CaptionArguments(trigger="ohwx"))
    write_caption(captioned, EditCaptionArguments(clip="phone.mp4", caption="ohwx man talks."))
    target = tmp_path / "m.json"
    plain = export_captions(captioned, ExportCaptionsArguments(target=str(target)))
    assert any("not in these captions" in note for note in plain.notes)
    export_captions(captioned, ExportCaptionsArguments(target=str(target), with_trigger=True))
    assert all(row["caption"].count("ohwx") == 1 for row in json.loads(target.read_text()))


def test_the_clips_folder_is_never_written_to(captioned: Project, clips_folder: Path) -> None:
    for target in (clips_folder, clips_folder / "sub" / "out", clips_folder / "metadata.csv"):
        with pytest.raises(ConfigError, match="never written to"):
            export_captions(captioned, ExportCaptionsArguments(target=str(target)))


def test_nothing_to_export_or_import_is_said(
    project: Project, write_report: Callable[[], None], tmp_path: Path
) -> None:
    write_report()
    with pytest.raises(DataError, match="no captions yet"):
        export_captions(project, ExportCaptionsArguments(target=str(tmp_path / "x.csv")))
    with pytest.raises(ConfigError, match="no file or folder"):
        import_captions(project, ImportCaptionsArguments(source=str(tmp_path / "nowhere")))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    assert "names one of the clips" in import_captions(project, ImportCaptionsArguments(source=str(empty))).notes[0]
