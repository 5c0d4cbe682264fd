"""report.json as captioning and drafting read it: which clips can be trained on, and where they lie."""

from pathlib import Path

from pydantic import ValidationError

from tools.inspect.report.report import Clip, Report
from tools.project import Project
from trainer_core.errors import ConfigError, DataError
from trainer_core.files import read_json

USABLE_STATUSES = ("ok", "flagged")


def read_report(project: Project, *, unusable: bool = False) -> Report:
    """Return the project's report. Raises ConfigError before inspection and DataError when no clip is usable.

    With `unusable`, clips that decode are enough.
    """
    if not project.report_path.exists():
        raise ConfigError(
            f"The clips of {project.path} were not inspected yet: there is no report.json.", "Run `ltx-agent inspect`."
        )
    try:
        report = Report.model_validate(read_json(project.report_path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"{project.report_path} is not an inspection report of this version: {where}: {first['msg']}.",
            "Run `ltx-agent inspect` again.",
        ) from error
    if not (decodable_clips(report) if unusable else usable_clips(report)):
        raise DataError(
            f"None of the {len(report.clips)} files inspected can be trained on.", "See report.html for the reasons."
        )
    return report


def usable_clips(report: Report) -> list[Clip]:
    """The clips that can be trained on, in the report's order."""
    return [clip for clip in report.clips if clip.kind != "other" and clip.status in USABLE_STATUSES]


def decodable_clips(report: Report) -> list[Clip]:
    """The clips that can be looked at, whether or not they can be trained on."""
    return [clip for clip in report.clips if clip.kind != "other" and clip.sha256 is not None]


def unusable_clips(report: Report) -> list[Clip]:
    """The media files that can't be trained on."""
    return [clip for clip in report.clips if clip.kind != "other" and clip.status not in USABLE_STATUSES]


def clip_file(clip: Clip) -> Path:
    """Return the clip's file."""
    return Path(clip.source) / clip.path


def content_digest(clip: Clip) -> str:
    """The sha256 of a usable clip; only files that can't be read have none."""
    assert clip.sha256 is not None, clip.path
    return clip.sha256
