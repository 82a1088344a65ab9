"""Notes of what was stored: they last, and are of one target alone."""

from pathlib import Path

import pytest

from imagerepo.adapters.import_files.notes import SqlNotes, key_of, key_within
from imagerepo.errors import SettingsError
from imagerepo.model.imports import File

KEYS = [number.to_bytes(16, "big") for number in range(1200)]


def test_what_is_noted_is_known_to_the_next_run(tmp_path: Path) -> None:
    file = tmp_path / "below" / "notes.sqlite"
    with SqlNotes(file, "there") as notes:
        notes.note(KEYS[:1100], "1.2.3")
        notes.note(KEYS[:3])
        notes.note([])
    with SqlNotes(file, "there") as notes:
        assert notes.known(KEYS) == set(KEYS[:1100])
        assert notes.known([]) == set()
        assert notes.study == "1.2.3"


def test_two_imports_may_note_at_once(tmp_path: Path) -> None:
    with SqlNotes(tmp_path / "n", "there") as one, SqlNotes(tmp_path / "n", "there") as other:
        one.note(KEYS[:2])
        other.note(KEYS[1:3])
        assert one.known(KEYS) == other.known(KEYS) == set(KEYS[:3])


def test_notes_of_another_target_are_refused(tmp_path: Path) -> None:
    SqlNotes(tmp_path / "n", "there").__exit__(None, None, None)
    with pytest.raises(SettingsError, match="is about there, not elsewhere"):
        SqlNotes(tmp_path / "n", "elsewhere")


def test_keys_tell_paths_sizes_times_and_members_apart() -> None:
    files = [File(Path("/a"), 1, 1), File(Path("/b"), 1, 1), File(Path("/a"), 2, 1), File(Path("/a"), 1, 2)]
    keys = {key_of(file) for file in files}
    whole = key_of(files[0])
    keys |= {key_within(whole, "x", 0), key_within(whole, "x", 1), key_within(whole, "y", 0)}
    assert len(keys) == 7
