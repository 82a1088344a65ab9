"""Matches as conditions in SQL (PS3.4 section C.2.2.2)."""

from dataclasses import dataclass

from imagerepo.adapters.index_sql.rows import fold, fold_name
from imagerepo.model.query import Between, Equals, Key, Level, Match, OneOf, Wildcard

# Key -> table alias and column; names and descriptions are searched case folded.
COLUMNS = {
    Key.STUDY_DATE: "t.study_date",
    Key.STUDY_TIME: "t.study_time",
    Key.ACCESSION_NUMBER: "t.accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "t.referring_physician_name_key",
    Key.STUDY_DESCRIPTION: "t.study_description_key",
    Key.PATIENT_NAME: "t.patient_name_key",
    Key.PATIENT_ID: "t.patient_id",
    Key.ISSUER_OF_PATIENT_ID: "t.issuer_of_patient_id",
    Key.PATIENT_BIRTH_DATE: "t.patient_birth_date",
    Key.PATIENT_SEX: "t.patient_sex",
    Key.STUDY_INSTANCE_UID: "t.uid",
    Key.STUDY_ID: "t.study_id",
    Key.MODALITY: "s.modality",
    Key.SERIES_DESCRIPTION: "s.series_description_key",
    Key.SERIES_INSTANCE_UID: "s.uid",
    Key.SERIES_NUMBER: "s.series_number",
    Key.BODY_PART_EXAMINED: "s.body_part",
    Key.PERFORMED_STEP_START_DATE: "s.performed_step_date",
    Key.PERFORMED_STEP_START_TIME: "s.performed_step_time",
    Key.SOP_CLASS_UID: "i.sop_class_uid",
    Key.SOP_INSTANCE_UID: "i.uid",
    Key.INSTANCE_NUMBER: "i.instance_number",
}
_FOLDED = {Key.STUDY_DESCRIPTION: fold, Key.SERIES_DESCRIPTION: fold}
_NAMES = {Key.PATIENT_NAME, Key.REFERRING_PHYSICIAN_NAME}

# What has trigrams, and under which name.
_TRIGRAMS = {
    Key.PATIENT_NAME: "patient_name",
    Key.PATIENT_ID: "patient_id",
    Key.STUDY_DESCRIPTION: "study_description",
    Key.ACCESSION_NUMBER: "accession_number",
    Key.REFERRING_PHYSICIAN_NAME: "referring_physician_name",
}
_TRIGRAM = 3


@dataclass(frozen=True, slots=True)
class Condition:
    """SQL and its parameters."""

    sql: str
    parameters: tuple[str | int, ...]


def prefix(pattern: str) -> str:
    """What every text that matches the pattern begins with."""
    end = min((pattern.find(mark) for mark in "*?" if mark in pattern), default=len(pattern))
    return pattern[:end]


def _folded(key: Key, text: str) -> str:
    if key in _NAMES:
        return fold_name(text)
    return _FOLDED[key](text) if key in _FOLDED else text


def condition(column: str, key: Key, match: Match) -> Condition:
    """What `match` asks of a column that holds the values of `key`."""
    match match:
        case Equals(value):
            return Condition(f"{column} = ?", (_folded(key, value),))
        case OneOf(values):
            return Condition(f"{column} IN ({', '.join('?' * len(values))})", values)
        case Between(low, high):
            # An absent value is in no range. 'ffff' sorts after every digit, and takes in longer times.
            if not high:
                return Condition(f"{column} >= ?", (low or "0",))
            return Condition(f"{column} >= ? AND {column} <= ?", (low or "0", high + "\uffff"))
        case Wildcard(pattern):
            folded = _folded_pattern(key, pattern)
            glob, start = folded.replace("[", "[[]"), prefix(folded)
            if not start:
                return Condition(f"{column} GLOB ?", (glob,))
            return Condition(
                f"{column} >= ? AND {column} < ? AND {column} GLOB ?", (start, start + "\U0010ffff", glob)
            )


def of_entity(key: Key, match: Match, level: Level) -> Condition:
    """What a match asks of the rows of a query at that level."""
    if key is Key.MODALITIES_IN_STUDY or (key is Key.MODALITY and level is Level.STUDY):
        return _modalities(match)
    return condition(COLUMNS[key], key, match)


def _folded_pattern(key: Key, pattern: str) -> str:
    if key in _NAMES:
        return pattern.casefold()
    return _folded(key, pattern)


def _modalities(match: Match) -> Condition:
    """A study matches if one of its modalities does; a pattern must not reach over from one to the next."""
    if isinstance(match, Wildcard):
        pattern = match.pattern.replace("[", "[[]")
        return Condition("EXISTS (SELECT 1 FROM series e WHERE e.study_id = t.id AND e.modality GLOB ?)", (pattern,))
    values = match.values if isinstance(match, OneOf) else (match.value if isinstance(match, Equals) else "",)
    one = "instr('\\' || t.modalities || '\\', ?) > 0"
    return Condition("(" + " OR ".join([one] * len(values)) + ")", tuple(f"\\{value}\\" for value in values))


def trigram(key: Key, match: Match) -> str | None:
    """An FTS5 expression that every value matching the pattern satisfies, or None."""
    if key not in _TRIGRAMS or not isinstance(match, Wildcard):
        return None
    literals = [
        # The text is case folded for all keys: GLOB looks at the case where it counts.
        part
        for part in match.pattern.casefold().replace("?", "*").split("*")
        if len(part) >= _TRIGRAM
    ]
    if not literals:
        return None
    quoted = " AND ".join('"' + part.replace('"', '""') + '"' for part in literals)
    return f"{_TRIGRAMS[key]} : ({quoted})"
