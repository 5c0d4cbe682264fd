from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from tools.monitor.curve import loss_curve_png
from trainer_core.errors import DataError
from trainer_core.run_folder import RunFolder, RunStatus

WriteRun = Callable[..., RunFolder]


def test_curve_has_a_panel_for_each_modality(write_run: WriteRun, tmp_path: Path) -> None:
    both, video = tmp_path / "out" / "both.png", tmp_path / "video.png"
    loss_curve_png(write_run(RunStatus("done"), 60, noise=0.2), both)
    loss_curve_png(write_run(RunStatus("done"), 60, audio=None), video)
    drawn = cv2.imread(str(both))
    assert drawn is not None
    assert drawn.std() > 5
    single = cv2.imread(str(video))
    assert single is not None
    assert drawn.shape[0] > 1.5 * single.shape[0]


def test_run_without_a_step_has_no_curve(write_run: WriteRun, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no measured step"):
        loss_curve_png(write_run(RunStatus("queued"), 0), tmp_path / "x.png")
    assert list(tmp_path.glob("*.png")) == []
