"""Every workload, in the order in which it is run and reported."""

from bench.workloads import deletion, dimse, ingest, query, retrieve

WORKLOADS = (*ingest.WORKLOADS, *retrieve.WORKLOADS, *dimse.WORKLOADS, *deletion.WORKLOADS, *query.WORKLOADS)
BY_NAME = {workload.name: workload for workload in WORKLOADS}
