"""config.yaml as people read it: every value with its reason behind it, and a trailer that shows later edits."""

import hashlib
import io
import re
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from trainer_core.files import replacing, write_text

COMMENT_COLUMN = 58
HEADER = (
    "Drafted by ltx-agent; each value has its reason as a comment.\n"
    "Edit it as you like: your version is kept beside this file when a new one is drafted.\n"
)
_TRAILER = re.compile(r"\n# drafted-sha256: ([0-9a-f]{64})\n\Z")
_PLAIN_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_WORDS_WITH_A_MEANING = frozenset({"no", "off", "on", "yes", "y", "n", "true", "false", "null"})


class _Representer(RoundTripRepresenter):
    """Writes None as `null`, for people, and 5e-05 as 5.0e-05: without a dot YAML 1.1 readers take it for a text."""

    def represent_none(self, data: None) -> Any:  # noqa: ARG002 (the signature is ruamel's)
        return self.represent_scalar("tag:yaml.org,2002:null", "null")

    def represent_float(self, data: float) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:float", scalar_text(data))


_Representer.add_representer(type(None), _Representer.represent_none)
_Representer.add_representer(float, _Representer.represent_float)


def scalar_text(value: float | bool | None) -> str:
    """Return a number, a truth value or null as every YAML reader takes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text


def annotated_yaml(values: dict[str, Any], reasons: dict[str, str]) -> str:
    """Return `values` as YAML; `reasons` are put behind them, by dotted key such as `lora.rank`."""
    document = _mapping(values, reasons, "")
    document.yaml_set_start_comment(HEADER)
    for section in list(document)[1:]:
        document.yaml_set_comment_before_after_key(section, before="\n")
    yaml = YAML()
    yaml.Representer = _Representer
    yaml.width = 4096
    yaml.allow_unicode = True
    stream = io.StringIO()
    yaml.dump(document, stream)
    body = stream.getvalue()
    return f"{body}\n# drafted-sha256: {_digest(body)}\n"


def replace_drafted(path: Path, text: str) -> Path | None:
    """Write `text` to `path`; a version that a person changed is first kept as `<name>.bak-N`, which is returned."""
    kept = None
    if path.exists():
        kept = None if is_as_drafted(path) else keep_beside(path)
    write_text(path, text)
    return kept


def keep_beside(path: Path) -> Path:
    """Copy `path` to the next free `<name>.bak-N`, which is returned."""
    kept = _backup_path(path)
    content = path.read_bytes()
    with replacing(kept) as temporary:
        temporary.write_bytes(content)
    return kept


def is_as_drafted(path: Path) -> bool:
    """True if nobody has edited the file since it was drafted."""
    text = path.read_bytes().decode("utf-8", errors="replace")
    trailer = _TRAILER.search(text)
    return trailer is not None and _digest(text[: trailer.start()]) == trailer[1]


def _backup_path(path: Path) -> Path:
    number = 1
    while (candidate := path.with_name(f"{path.name}.bak-{number}")).exists():
        number += 1
    return candidate


def _mapping(values: dict[str, Any], reasons: dict[str, str], prefix: str) -> CommentedMap:
    result = CommentedMap()
    for key, value in values.items():
        name = f"{prefix}{key}"
        result[key] = _node(value, reasons, f"{name}.")
        if name not in reasons:
            continue
        if isinstance(result[key], CommentedMap) or _is_block(result[key]):
            result.yaml_set_comment_before_after_key(key, before=reasons[name], indent=2 * prefix.count("."))
        else:
            result.yaml_add_eol_comment(reasons[name], key, column=COMMENT_COLUMN)
    return result


def _is_block(node: Any) -> bool:
    return isinstance(node, CommentedSeq) and not node.fa.flow_style()


def _node(value: Any, reasons: dict[str, str], prefix: str) -> Any:
    if isinstance(value, dict):
        return _mapping(value, reasons, prefix)
    if isinstance(value, list) and any(isinstance(item, dict) and "prompt" in item for item in value):
        return CommentedSeq(_node(item, {}, "") for item in value)
    if isinstance(value, list | tuple):
        sequence = CommentedSeq(_node(item, {}, "") for item in value)
        sequence.fa.set_flow_style()
        return sequence
    if isinstance(value, str) and not _is_plain_everywhere(value):
        return DoubleQuotedScalarString(value)
    return value


def _is_plain_everywhere(text: str) -> bool:
    """True if YAML 1.1 and 1.2 readers alike take the unquoted text for itself, as not `no`, `1:30` and `a?b`."""
    return _PLAIN_WORD.fullmatch(text) is not None and text.lower() not in _WORDS_WITH_A_MEANING


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode("utf-8")).hexdigest()
