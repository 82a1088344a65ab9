"""Every workload, in the order in which it is run and reported."""

from bench.workloads import dimse, ingest, query, retrieve

WORKLOADS = (*ingest.WORKLOADS, *retrieve.WORKLOADS, *dimse.WORKLOADS, *query.WORKLOADS)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
