"""Every metric, in one place; a test holds the names. Labels are bounded: never a UID, never a patient.

Processes add up through prometheus-client's multiprocess folder, which the parent empties before it starts them.
"""

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

http_requests = Counter("imagerepo_http_requests_total", "HTTP requests answered.", ["route", "method", "code"])
http_request_duration = Histogram(
    "imagerepo_http_request_duration_seconds",
    "From a request's headers to its answer's last byte.",
    ["route"],
    buckets=_SECONDS,
)
http_requests_in_flight = Gauge(
    "imagerepo_http_requests_in_flight", "HTTP requests being answered.", multiprocess_mode="livesum"
)
http_connections_ended = Counter(
    "imagerepo_http_connections_ended_total", "HTTP connections that the server ended before their time.", ["reason"]
)
dimse_associations = Gauge("imagerepo_dimse_associations", "Open DIMSE associations.", multiprocess_mode="livesum")
dimse_request_duration = Histogram(
    "imagerepo_dimse_request_duration_seconds",
    "From a DIMSE request's last byte to its final response.",
    ["service"],
    buckets=_SECONDS,
)
tls_handshakes = Counter(
    "imagerepo_tls_handshakes_total", "TLS handshakes of clients, by what became of them.", ["protocol", "outcome"]
)
tls_certificate_expires = Gauge(
    "imagerepo_tls_certificate_expires_timestamp_seconds",
    "When the server's certificate expires.",
    multiprocess_mode="livemin",
)
ingest_instances = Counter(
    "imagerepo_ingest_instances_total", "Instances that arrived, by what became of them.", ["institution", "outcome"]
)
ingest_bytes = Counter("imagerepo_ingest_bytes_total", "Bytes of instances stored.", ["institution"])
ingest_step_duration = Histogram(
    "imagerepo_ingest_step_duration_seconds", "Time in each step of ingest.", ["step"], buckets=_SECONDS
)
deleted_instances = Counter("imagerepo_deleted_instances_total", "Instances deleted.", ["institution"])
retrieved_bytes = Counter(
    "imagerepo_retrieved_bytes_total", "Bytes of instances sent to readers.", ["institution", "tier"]
)
swept_objects = Counter(
    "imagerepo_swept_objects_total", "Objects removed that no row of the index named.", ["institution"]
)
compacted_objects = Counter(
    "imagerepo_compacted_objects_total", "Objects whose bytes were put together with others'.", ["institution"]
)
scrubbed_copies = Counter(
    "imagerepo_scrubbed_copies_total", "Copies whose bytes were read and compared, by what came of it.", ["outcome"]
)
scrubbed_bytes = Counter("imagerepo_scrubbed_bytes_total", "Bytes read for that.")
first_image = Histogram(
    "imagerepo_first_image_seconds",
    "From the first request of a study to its first complete image.",
    ["institution"],
    buckets=_SECONDS,
)


# Finding a metric by its labels takes as long as noting a value in it.
ingest_step = cache(ingest_step_duration.labels)
ingested = cache(ingest_instances.labels)
bytes_ingested = cache(ingest_bytes.labels)
bytes_retrieved = cache(retrieved_bytes.labels)
dimse_duration = cache(dimse_request_duration.labels)
