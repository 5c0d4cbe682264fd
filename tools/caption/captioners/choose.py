"""Captioners by name: auto, existing, endpoint[:MODEL], local[:FOLDER or HUB ID], measured."""

from dataclasses import dataclass
from typing import Literal, get_args

from tools.caption.captioners.captioner import Captioner
from trainer_core.errors import ConfigError

Kind = Literal["auto", "existing", "endpoint", "local", "measured"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class CaptionerChoice:
    """A captioner as a person names it: its kind and, after a colon, a model."""

    kind: Kind
    model: str | None = None


def parse_choice(text: str) -> CaptionerChoice:
    """Return what `text` means. Raises ConfigError with what is allowed."""
    name, _, model = text.partition(":")
    for kind in KINDS:
        if kind == name and (not model or kind in ("endpoint", "local")):
            return CaptionerChoice(kind, model or None)
    raise ConfigError(
        f"There is no captioner {text!r}.",
        "Choose auto, existing, endpoint[:MODEL], local[:FOLDER|HUB-ID] or measured.",
    )


def make_captioner(choice: CaptionerChoice, notes: list[str]) -> Captioner | None:
    """Return the captioner that writes what isn't written yet; None when only existing captions are wanted.

    `auto` takes an endpoint that is configured for captions, else a local vision model that is there and fits, else
    measured descriptions; `notes` gets what a person should know of it. Raises ConfigError for one that isn't there,
    and ApprovalNeeded for a model that would have to be downloaded.
    """
    from tools.endpoint.settings import caption_endpoint

    if choice.kind == "existing":
        return None
    if choice.kind in ("auto", "endpoint"):
        endpoint = caption_endpoint(choice.model)
        if endpoint is not None:
            from tools.caption.captioners.endpoint import EndpointCaptioner

            return EndpointCaptioner(endpoint)
        if choice.kind == "endpoint":
            raise ConfigError(
                "No captioning endpoint is configured.",
                "Set LTX_AGENT_CAPTION_MODEL and LTX_AGENT_CAPTION_BASE_URL, in the environment or in settings.yaml.",
            )
    if choice.kind in ("auto", "local"):
        from tools.caption.captioners.local_models import find_local

        found = find_local(choice.model, asked=choice.kind == "local", notes=notes)
        if found is not None:
            from tools.caption.captioners.local import LocalCaptioner

            return LocalCaptioner(found)
    from tools.caption.captioners.measured import MeasuredCaptioner

    return MeasuredCaptioner()
