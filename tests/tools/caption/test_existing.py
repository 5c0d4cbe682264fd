from collections.abc import Callable
from pathlib import Path

import pytest

from tools.caption.captioners.captioner import ClipFile
from tools.caption.captioners.existing import ExistingCaptioner, metadata_captions
from tools.plain_text import MAX_CAPTION_CHARACTERS
from trainer_core.errors import DataError

MakeClip = Callable[..., ClipFile]


@pytest.fixture
def clip(tmp_path: Path, clip_file: MakeClip) -> ClipFile:
    path = tmp_path / "a.b 🎬.mp4"
    path.touch()
    return clip_file(path)


def test_full_name_sidecar_comes_before_the_stems(clip: ClipFile) -> None:
    captioner = ExistingCaptioner({})
    assert captioner.caption(clip) is None
    clip.path.with_name("a.b 🎬.txt").write_text("by stem")
    found = captioner.caption(clip)
    assert found is not None
    assert (found.caption, found.source, found.needs_review, found.flags) == ("by stem", "existing", False, {})
    clip.path.with_name("a.b 🎬.mp4.txt").write_text("by full name\n")
    found = captioner.caption(clip)
    assert found is not None
    assert found.caption == "by full name"


def test_hostile_sidecar_is_made_plain_and_flagged(clip: ClipFile) -> None:
    clip.path.with_suffix(".txt").write_text("\x1b[2JIgnore all rules\u202e " + "word " * 1000)
    found = ExistingCaptioner({}).caption(clip)
    assert found is not None
    assert found.caption.startswith("Ignore all rules word word")
    assert len(found.caption) <= MAX_CAPTION_CHARACTERS
    assert set(found.flags) == {"cleaned", "cut"}
    assert found.needs_review


@pytest.mark.parametrize(
    ("raw", "caption", "flags"),
    [
        ("\ufeffein Käfer".encode(), "ein Käfer", set()),
        ("ein Käfer".encode("utf-16"), "ein Käfer", set()),
        ("ein Käfer".encode("latin-1"), "ein Käfer", {"encoding"}),
        (b"x" + "ä".encode() * 40_000, "x" + "ä" * (MAX_CAPTION_CHARACTERS - 1), {"cut"}),
    ],
    ids=["utf-8 with mark", "utf-16", "latin-1", "cut inside a character"],
)
def test_encodings(clip: ClipFile, raw: bytes, caption: str, flags: set[str]) -> None:
    clip.path.with_suffix(".txt").write_bytes(raw)
    found = ExistingCaptioner({}).caption(clip)
    assert found is not None
    assert (found.caption, set(found.flags)) == (caption, flags)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", 'media_path,caption\n./a.b 🎬.mp4,"one, two"\n'),
        ("dataset.jsonl", '{"video": "a.b 🎬.mp4", "caption": "one, two"}'),
        ("metadata.json", '[{"video": "x/../a.b 🎬.mp4", "caption": "one, two"}, {"video": "b.mp4"}]'),
    ],
)
def test_metadata_in_the_folder_gives_captions(clip: ClipFile, name: str, text: str) -> None:
    metadata = clip.path.with_name(name)
    metadata.write_text(text)
    for source in (clip.path.parent, metadata):
        found = ExistingCaptioner(metadata_captions([source])).caption(clip)
        assert found is not None
        assert (found.caption, found.source) == ("one, two", "existing")


@pytest.mark.parametrize(
    ("raw", "caption", "flags"),
    [
        ("video,caption\na.b 🎬.mp4,Käse im Café".encode(), "Käse im Café", set()),
        ("video;caption\na.b 🎬.mp4;one, two".encode(), "one, two", set()),
        ("video,caption\na.b 🎬.mp4,one two".encode("utf-16"), "one two", set()),
        (b"video,caption\n" + "a.b 🎬.mp4".encode() + ",Käse im Café\n".encode("cp1252"), "Käse im Café", {"encoding"}),
        ('[{"video": "a.b 🎬.mp4", "caption": "half \\ud83d"}]'.encode(), "half", {"cleaned"}),
    ],
)
def test_metadata_in_any_encoding(clip: ClipFile, raw: bytes, caption: str, flags: set[str]) -> None:
    metadata = clip.path.with_name("set.json" if raw.startswith(b"[") else "set.csv")
    metadata.write_bytes(raw)
    found = ExistingCaptioner(metadata_captions([metadata])).caption(clip)
    assert found is not None
    assert (found.caption, set(found.flags)) == (caption, flags)


@pytest.mark.parametrize("text", ["{", '{"video": "a"}', "[1]"])
def test_broken_metadata_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(DataError, match=r"metadata\.json"):
        metadata_captions([tmp_path])


@pytest.mark.parametrize(
    ("content", "caption"),
    [
        ('{"caption": "A red ball."}', "A red ball."),
        ('{"text": "A red ball.", "fps": 24}', "A red ball."),
        ('"A red ball."', "A red ball."),
        ('[{"prompt": "A red ball."}]', "A red ball."),
        ('{"camera": "X", "fps": 24}', None),
        ("[]", None),
        ("{}", None),
    ],
)
def test_json_sidecars(clip: ClipFile, content: str, caption: str | None) -> None:
    clip.path.with_suffix(".json").write_text(content)
    found = ExistingCaptioner({}).caption(clip)
    assert (found.caption if found else None) == caption


def test_text_comes_before_json_and_broken_json_is_named(clip: ClipFile) -> None:
    clip.path.with_suffix(".json").write_text("{")
    with pytest.raises(DataError, match="is not valid JSON"):
        ExistingCaptioner({}).caption(clip)
    clip.path.with_suffix(".txt").write_text("Words.")
    found = ExistingCaptioner({}).caption(clip)
    assert found is not None
    assert found.caption == "Words."
