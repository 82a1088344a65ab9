"""A process that stores, as a replica's would: run with the database's URL, settings of S3, a name and what to do.

It prints a line for each answer, so that whoever kills it knows what was acknowledged.
"""

import json
import sys
from dataclasses import replace
from pathlib import Path

from imagerepo.settings_cluster import Store
from tests.harness.committing import writing
from tests.harness.dicom_file import DicomFile, ct
from tests.harness.requests import store


def made(number: int, instance_of: int | None = None, **words: int) -> DicomFile:
    """An instance; `instance_of`: with the SOP Instance UID that it has in that study."""
    file = ct(number, **words)
    return file if instance_of is None else replace(file, instance=ct(number, study=instance_of).instance)


def say(text: str) -> None:
    """To whoever started it, at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> None:
    url, settings, folder, name, orders = sys.argv[1:]
    with writing(url, Store.model_validate_json(settings), Path(folder), name) as one:
        say("ready")
        sys.stdin.readline()
        for batch in json.loads(orders):
            files = [made(number, **words) for number, words in batch]
            results = one.commits.commit([store(file) for file in files])
            for file, result in zip(files, results, strict=True):
                said = [file.instance, result.kind, result.version, str(result.error or "")]
                say(json.dumps(said))
    say("done")


if __name__ == "__main__":
    main()
