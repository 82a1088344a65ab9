"""`ceph.conf` of the bed: for its daemons, and for whoever runs `ceph --conf`.

Ceph 16 is what Debian 12 has. What is said here of its behaviour was seen with it.
"""

from pathlib import Path
from typing import Final

from tests.testbed.plan import HOST, Plan

_MGR_MODULES: Final = "/usr/share/ceph/mgr"
_OSD_BYTES: Final = 2 << 30
_LIFECYCLE_DAY: Final = 10  # seconds

_TEXT: Final = """\
[global]
fsid = {fsid}
mon_host = [v2:{host}:{mon_port}]
mon_initial_members = a
public_addr = {host}
cluster_addr = {host}
ms_bind_port_min = {first_osd_port}
ms_bind_port_max = {last_osd_port}
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
keyring = {ceph}/$name.keyring
run_dir = {ceph}/run
crash_dir = {ceph}/crash
log_to_stderr = false
# What the mgr knows of placement groups, and the mon from it, is so many seconds old, instead of 5 and 2.
mgr_stats_period = 1
mgr_tick_period = 1
# Many small pools on few OSDs.
osd_pool_default_pg_autoscale_mode = off
osd_pool_default_pg_num = 8
osd_pool_default_pgp_num = 8
mon_max_pg_per_osd = 2000
# The rule that pools get without asking puts each copy into a data center of its own (type 8), RGW's own pools too:
# otherwise they would lose min_size with one data center, and every institution with them.
osd_crush_chooseleaf_type = 8
osd_pool_default_size = 3
osd_pool_default_min_size = 2

[mon]
keyring = {ceph}/mon.a/keyring
mon_data = {ceph}/mon.a
log_file = {log}/$name.log
mon_cluster_log_file = {log}/cluster.log
mon_allow_pool_delete = true
mon_warn_on_pool_no_redundancy = false
auth_allow_insecure_global_id_reclaim = false
# The disk is the machine's; it may be quite full.
mon_data_avail_warn = 2
mgr_initial_modules = iostat
# Changes of maps at once, instead of once a second.
paxos_propose_interval = 0.05
paxos_min_wait = 0.01

[mgr]
mgr_data = {ceph}/mgr.x
keyring = {ceph}/mgr.x/keyring
log_file = {log}/$name.log
mgr_module_path = {mgr_modules}

[osd]
osd_data = {ceph}/osd.$id
keyring = {ceph}/osd.$id/keyring
log_file = {log}/$name.log
osd_objectstore = memstore
memstore_device_bytes = {osd_bytes}
# memstore writes its objects to disk when it ends properly, and a fast shutdown does not end properly.
osd_fast_shutdown = false
osd_crush_update_on_start = false
osd_class_update_on_start = false
osd_op_num_shards = 2
osd_op_num_threads_per_shard = 1
osd_heartbeat_interval = 2
osd_heartbeat_grace = 8
# A gateway that was killed is waited for at each change of a bucket, for this many seconds instead of 30.
osd_client_watch_timeout = 10
# memstore counts as a rotating disk, whose recovery is slowed down.
osd_recovery_sleep_hdd = 0.02

# Two gateways of one zone. Ceph 16 hangs for good when a period is committed while lifecycle runs in the same process:
# clients use rgw.main, which has none.
[client.rgw.main]
rgw_frontends = beast endpoint={host}:{rgw_port} tcp_nodelay=1
rgw_enable_lc_threads = false
{rgw}
[client.rgw.lc]
rgw_frontends = beast endpoint={host}:{lc_port} tcp_nodelay=1
# Seconds in a day, as lifecycle counts them.
rgw_lc_debug_interval = {lifecycle_day}
{rgw}"""

_RGW: Final = """\
keyring = {ceph}/rgw/$id.keyring
rgw_data = {ceph}/rgw
log_file = {log}/$name.log
admin_socket = {ceph}/run/$name.asok
rgw_thread_pool_size = 128
# The refresh of a quota in the background, at half of this, may end Ceph 16's gateway.
rgw_bucket_quota_ttl = 86400
# A request to what is unavailable is answered after this many seconds, instead of holding a thread for ever.
rados_osd_op_timeout = 15
# What was deleted beyond an object's first 4 MiB stays for two hours otherwise, here in memory.
rgw_gc_obj_min_wait = 5
rgw_gc_processor_period = 5
"""


def text(folder: Path, plan: Plan) -> str:
    """For a bed in that folder."""
    ceph, log = folder / "ceph", folder / "log"
    return _TEXT.format(
        host=HOST,
        ceph=ceph,
        log=log,
        fsid=plan.ceph.fsid,
        mon_port=plan.ceph.mon_port,
        first_osd_port=plan.ceph.first_osd_port,
        last_osd_port=plan.ceph.last_osd_port,
        mgr_modules=_MGR_MODULES,
        osd_bytes=_OSD_BYTES,
        rgw_port=plan.s3.port,
        lc_port=plan.s3.lifecycle_port,
        lifecycle_day=_LIFECYCLE_DAY,
        rgw=_RGW.format(ceph=ceph, log=log),
    )
