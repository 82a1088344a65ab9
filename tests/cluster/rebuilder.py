"""A process that makes a database anew, to be killed: run with its URL, the settings of S3 and a folder."""

import sys
from pathlib import Path

from imagerepo.settings_cluster import Store
from tests.harness.rebuilding import rebuild


def main() -> None:
    url, settings, folder = sys.argv[1:]
    made = rebuild(url, Store.model_validate_json(settings), Path(folder))
    sys.exit(0 if made.is_whole else 2)


if __name__ == "__main__":
    main()
