"""How every session plans its queries: by loops over indexes, in the order in which joins are written.

What is asked here is a few rows out of many, in the order of an index. A plan that reads a table whole is better for
small tables alone; it is kept with its statement, and is the worst one a minute later, when the table has filled and
nobody has counted its rows yet. So those ways are closed, and a statement says by its order which index it means
(postgres/dialect.py).
"""

from collections.abc import Mapping
from typing import Final

SETTINGS: Final[Mapping[str, str]] = {
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_sort": "off",  # where an index gives the order; what has to be sorted still is
    "join_collapse_limit": "1",  # joins in the order in which they are written
    "max_parallel_workers_per_gather": "0",
    "jit": "off",  # closed ways are costs to the planner, which compiles what is costly
}

SESSION: Final = "; ".join(f"SET {name} = {value}" for name, value in SETTINGS.items())
"""One statement for all, without a semicolon at its end."""
