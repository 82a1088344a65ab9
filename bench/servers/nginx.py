"""nginx giving the same bytes as plain files with sendfile: what the machine can do at best."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.generate import Instance
from bench.servers.process import Nagle, Server, answers_http

# Debian keeps it where a plain user's PATH does not look.
SEARCH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"

CONFIGURATION = """\
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    open_file_cache max=4000 inactive=60s;
    default_type application/dicom;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /ready {{ return 200; }}
        location / {{ root {root}; }}
    }}
}}
"""


class Nginx(Server):
    """Static files; knows nothing of DICOM."""

    name = "nginx"
    what = "nginx serving the same bytes as plain files (sendfile, a worker a core, open file cache)"

    def __init__(self, folder: Path, root: Path) -> None:
        super().__init__(folder, Nagle.OFF)
        self.root = root

    @classmethod
    def missing(cls) -> str:
        """Say whether it is installed."""
        return "" if shutil.which("nginx", path=SEARCH) else "nginx is not installed: run bench/setup"

    def configure(self) -> Sequence[str]:
        """Write its configuration."""
        path = self.folder / "nginx.conf"
        # Started by root, workers would become a user that cannot read the corpus.
        user = "user root;" if os.geteuid() == 0 else ""
        path.write_text(CONFIGURATION.format(user=user, folder=self.folder, port=self.http_port, root=self.root))
        program = shutil.which("nginx", path=SEARCH) or "nginx"
        return (program, "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", str(path))

    def ready(self) -> bool:
        """Whether it answers."""
        return answers_http(self.http_port, "/ready")

    def path(self, instance: Instance) -> str:
        """Path of an instance's file."""
        return f"/{instance.path.name}"
