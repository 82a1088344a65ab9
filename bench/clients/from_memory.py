"""Our own sender with all data sets in memory: what C-MOVE could reach if reading cost nothing."""

import time
from collections.abc import Sequence

from bench.clients.upper_layer import CT_IMAGE_STORAGE, SYNTAX
from bench.generate import Instance
from imagerepo.dimse.client.data import Bytes
from imagerepo.dimse.client.storing import Storing
from imagerepo.model.peer import Peer

_KIND = (CT_IMAGE_STORAGE, SYNTAX.decode())


def rate(port: int, instances: Sequence[Instance]) -> float:
    """Instances a second that are sent to a sink over one association, its opening included."""
    data = [Bytes(instance.data_set()) for instance in instances]
    start = time.perf_counter()
    with Storing(Peer("sink", "SINK", "127.0.0.1", port), "BENCH", [_KIND]) as storing:
        for instance, one in zip(instances, data, strict=True):
            storing.store(_KIND, instance.uid, one)
    return len(instances) / (time.perf_counter() - start)
