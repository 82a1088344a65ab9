"""A process that compacts a series, as a worker would: run with the database's URL and settings of S3."""

import sys

from imagerepo.settings_cluster import Store
from tests.harness import databases, s3
from tests.harness.compaction import compacted


def main() -> None:
    url, settings = sys.argv[1:]
    with databases.opened(url) as database, s3.opened(Store.model_validate_json(settings)) as store:
        compacted(database, store)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main()
