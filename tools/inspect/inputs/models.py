"""References and masks by a local transformers model that the user names: depth, a labelled subject, poses.

Only models on this machine are read; nothing is downloaded, no code of a model's own is run.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tools.inspect.remedies.tracks import Draw
from trainer_core.errors import ConfigError

DEPTH_PERCENTILES = (2, 98)
"""What counts as nearest and farthest in a clip: single pixels don't."""
LEAST_SCORE = 0.3
_COLOURS = [(255, 99, 71), (255, 215, 0), (50, 205, 50), (0, 191, 255), (186, 85, 211), (255, 140, 0)]


def depth(folder: Path, samples: Sequence[np.ndarray]) -> Draw:
    """Near is white, far is black (inverse depth), on one scale for the clip, found from a few `samples` of it."""
    processor, model = _loaded("AutoModelForDepthEstimation", folder)

    def measured(picture: np.ndarray) -> np.ndarray:
        return np.asarray(_outputs(processor, model, picture).predicted_depth[0].float().cpu())

    low, high = np.percentile(np.stack([measured(picture) for picture in samples]), DEPTH_PERCENTILES)

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        found = (measured(picture) - low) / max(float(high - low), 1e-6)
        height, width = picture.shape[:2]
        shown = cv2.resize(np.clip(found, 0, 1).astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
        return np.repeat(np.clip(np.round(shown * 255), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)

    return draw


def matte(folder: Path, label: str, *, inside: int) -> Draw:
    """Draw `inside` where the model labels `label`, the opposite (255 - inside) elsewhere."""
    processor, model = _loaded("AutoModelForSemanticSegmentation", folder)
    labels = {str(name): int(index) for index, name in model.config.id2label.items()}
    if label not in labels:
        raise ConfigError(
            f"The model {folder} knows no label `{label}`.", f"It knows: {', '.join(sorted(labels)[:40])}."
        )

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        found = _outputs(processor, model, picture).logits[0].argmax(dim=0).cpu().numpy() == labels[label]
        height, width = picture.shape[:2]
        there = cv2.resize(found.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST)
        return np.repeat(np.where(there > 0, inside, 255 - inside).astype(np.uint8)[..., None], 3, axis=-1)

    return draw


def pose(folder: Path) -> Draw:
    """The joints of one person, who is taken to fill the picture, with the model's own skeleton, on black."""
    processor, model = _loaded("VitPoseForPoseEstimation", folder)
    skeleton = [tuple(edge) for edge in getattr(model.config, "edges", None) or []]

    def draw(picture: np.ndarray, _time_s: float) -> np.ndarray:
        import torch

        height, width = picture.shape[:2]
        whole = [[[0.0, 0.0, float(width), float(height)]]]
        inputs = processor(images=picture, boxes=whole, return_tensors="pt").to(model.device)
        if getattr(model.config.backbone_config, "num_experts", 1) > 1:
            inputs["dataset_index"] = torch.zeros(1, dtype=torch.long)
        with torch.no_grad():
            outputs = model(**inputs)
        person = processor.post_process_pose_estimation(outputs, boxes=whole)[0][0]
        points = person["keypoints"].cpu().numpy()
        scores = person["scores"].cpu().numpy()
        drawn = np.zeros_like(picture)
        radius = max(2, height // 120)
        for first, second in skeleton:
            if min(scores[first], scores[second]) >= LEAST_SCORE:
                ends = [tuple(int(value) for value in points[index]) for index in (first, second)]
                cv2.line(drawn, ends[0], ends[1], (255, 255, 255), radius, cv2.LINE_AA)
        for index, (point, score) in enumerate(zip(points, scores, strict=True)):
            if score >= LEAST_SCORE:
                place = tuple(int(value) for value in point)
                cv2.circle(drawn, place, 2 * radius, _COLOURS[index % len(_COLOURS)], -1, cv2.LINE_AA)
        return drawn

    return draw


def _loaded(kind: str, folder: Path) -> tuple[Any, Any]:
    """(image processor, model) of a local folder, on the GPU if there is one. Raises ConfigError for any other."""
    import torch
    import transformers
    from safetensors import SafetensorError

    if not (folder / "config.json").is_file():
        raise ConfigError(f"There is no model in {folder}.", "Name a local transformers folder with a config.json.")
    try:
        options = {"local_files_only": True, "trust_remote_code": False}
        processor = transformers.AutoImageProcessor.from_pretrained(folder, **options)
        model = getattr(transformers, kind).from_pretrained(folder, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(f"{folder} can't be used for this: {first}", "Name another model.") from error
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return processor, model.to(device).eval().requires_grad_(False)


def _outputs(processor: Any, model: Any, picture: np.ndarray) -> Any:
    import torch

    inputs = processor(images=picture, return_tensors="pt").to(model.device)
    with torch.no_grad():
        return model(**inputs)
