"""The statements that write the index's rows; see apply.py."""

STUDY_FIELDS = (
    "patient_id, issuer_of_patient_id, patient_name, patient_name_key, patient_birth_date, patient_sex, study_date, "
    "study_time, study_id, study_description, study_description_key, accession_number, referring_physician_name, "
    "referring_physician_name_key, timezone_offset, modalities, source_commit"
)
SERIES_FIELDS = (
    "modality, series_number, series_description, series_description_key, body_part, performed_step_date, "
    "performed_step_time, source_commit"
)
INSTANCE_FIELDS = (
    'sop_class_uid, instance_number, "rows", columns, bits_allocated, number_of_frames, patient_key, current'
)
VERSION_FIELDS = (
    "instance_id, number, transfer_syntax, digest, crc32, size, received_at, commit_number, data_set_offset, "
    "header_length, trailer_offset, pixel_offset, pixel_length, frame_length, frames"
)


def _insert(table: str, fields: str, otherwise: str = "") -> str:
    places = ", ".join("?" * len(fields.split(",")))
    return f'INSERT {otherwise} INTO "{table}" ({fields}) VALUES ({places})'


def _update(table: str, fields: str) -> str:
    return (
        f'UPDATE "{table}" SET ' + ", ".join(f"{field.strip()} = ?" for field in fields.split(",")) + " WHERE id = ?"
    )


ADD_INSTITUTION = _insert("institution", "name", "OR IGNORE")
FIND_INSTITUTION = "SELECT id FROM institution WHERE name = ?"
FIND_STUDY = (
    "SELECT id, source_commit, modalities, patient_differs, patient_id, issuer_of_patient_id, patient_name_key, "
    "patient_birth_date, patient_sex FROM study WHERE institution_id = ? AND uid = ?"
)
# A study or series whose rows a later commit made first moves to the key that its earliest commit gives it.
MOVE_STUDY = (
    "UPDATE study SET id = ? WHERE id = ?",
    "UPDATE series SET study_id = ? WHERE study_id = ?",
    "UPDATE instance SET study_id = ? WHERE study_id = ?",
)
MOVE_SERIES = "UPDATE series SET id = ? WHERE id = ?"
MOVE_INSTANCES = "UPDATE instance SET series_id = ? WHERE study_id = ? AND series_id = ?"
ADD_STUDY = _insert("study", f"id, institution_id, uid, {STUDY_FIELDS}")
CHANGE_STUDY = _update("study", STUDY_FIELDS)
MARK_STUDY = "UPDATE study SET modalities = ?, patient_differs = ? WHERE id = ?"
COUNT_SERIES = "UPDATE study SET series_count = series_count + 1 WHERE id = ?"
COUNT_IN_STUDY = "UPDATE study SET instance_count = instance_count + ? WHERE id = ?"
TEXT_FIELDS = "rowid, patient_name, patient_id, study_description, accession_number, referring_physician_name"
ADD_TEXT = _insert("study_text", TEXT_FIELDS)
DROP_TEXT = f"INSERT INTO study_text (study_text, {TEXT_FIELDS}) VALUES ('delete', ?, ?, ?, ?, ?, ?)"
TEXT_OF_STUDY = (
    "SELECT patient_name_key, patient_id, study_description_key, accession_number, referring_physician_name_key "
    "FROM study WHERE id = ?"
)
FIND_SERIES = "SELECT id, source_commit FROM series WHERE study_id = ? AND uid = ?"
ADD_SERIES = _insert("series", f"id, institution_id, study_id, uid, {SERIES_FIELDS}")
CHANGE_SERIES = _update("series", SERIES_FIELDS)
COUNT_IN_SERIES = "UPDATE series SET instance_count = instance_count + ? WHERE id = ?"
ADD_INSTANCE = _insert("instance", f"id, institution_id, study_id, series_id, uid, {INSTANCE_FIELDS}", "OR IGNORE")
FIND_INSTANCE = "SELECT id, current FROM instance WHERE institution_id = ? AND uid = ?"
FIND_RIVAL = (
    "SELECT v.commit_number, v.size, v.number, i.id, i.study_id, i.series_id FROM instance i "
    "JOIN version v ON v.instance_id = i.id WHERE i.institution_id = ? AND i.uid = ? AND v.number = ?"
)
ANY_VERSION = "SELECT 1 FROM version WHERE instance_id = ? LIMIT 1"
EMPTY_STUDY = "SELECT 1 FROM study WHERE id = ? AND instance_count = 0"
CHANGE_INSTANCE = _update("instance", INSTANCE_FIELDS)
ADD_VERSION = _insert("version", VERSION_FIELDS)
ADD_COPY = _insert("copy", "instance_id, number, copy, tier")
ADD_RANGE = _insert("range", 'instance_id, number, copy, ordinal, object_id, "offset", length')
ADD_OBJECT = _insert("object", "store, key", "OR IGNORE")
FIND_OBJECT = "SELECT id FROM object WHERE store = ? AND key = ?"
ADD_HOLDING = (
    "INSERT INTO holding (institution_id, study_count, series_count, instance_count, hot_bytes) "
    "VALUES (?, ?, ?, ?, ?) ON CONFLICT (institution_id) DO UPDATE SET "
    "study_count = study_count + excluded.study_count, series_count = series_count + excluded.series_count, "
    "instance_count = instance_count + excluded.instance_count, hot_bytes = hot_bytes + excluded.hot_bytes"
)
