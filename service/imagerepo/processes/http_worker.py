"""One HTTP process: uvicorn over connections that this process accepts itself."""

import asyncio
import contextlib
import logging
import math
import socket
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor

import uvicorn
import uvloop

from imagerepo.dicomweb import routes as dicomweb
from imagerepo.errors import UnavailableError
from imagerepo.processes import child, metrics
from imagerepo.processes.child import Child
from imagerepo.processes.http_accept import Accepting
from imagerepo.processes.spec import Kind
from imagerepo.rest import routes as rest
from imagerepo.ui import routes as ui
from imagerepo.web.app import make_app
from imagerepo.web.proxied import end_stalled, protocol_class
from imagerepo.web.state import ServingState

log = logging.getLogger(__name__)

_CLOSE_EVERY = 1.0  # seconds between looks for audit intervals that are over
_THREADS = 32  # that wait for a commit or a disk: those who wait together share a flush
_TELL_EVERY = 0.1  # seconds


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling, which tells when it has started."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        # uvicorn tells the connections there are to end; one that was being accepted at that moment would be kept
        # alive, and waited for, until the grace is over.
        telling = asyncio.create_task(self._keep_telling())
        try:
            await super().shutdown(sockets)
        finally:
            telling.cancel()

    async def _keep_telling(self) -> None:
        while True:
            for connection in list(self.server_state.connections):
                connection.shutdown()
            await asyncio.sleep(_TELL_EVERY)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # signals are the parent's; child.py answers them


async def _serve(me: Child) -> None:
    repository, parts, shape = me.assembled.repository, me.assembled.parts, me.spec.shape
    state = ServingState(
        draining=lambda: me.sharing.draining,
        check=parts.check,
        render_metrics=lambda: metrics.render(shape.metrics, repository.index, parts.tasks, parts.check),
    )
    app = make_app(
        repository, [*dicomweb.routes(repository), *rest.routes(repository, state), *ui.routes(repository)], state
    )
    settings = me.spec.settings
    make = protocol_class(settings)
    server = _Server(
        uvicorn.Config(
            app,
            loop="none",
            http=make,
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # anyone on loopback could name any address; PROXY v2 is the trusted way
            timeout_keep_alive=math.ceil(settings.http.keep_alive),
            timeout_graceful_shutdown=max(1, int(settings.drain_grace / 2)),
        )
    )
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, thread_name_prefix="blocking"))
    serving = loop.create_task(server.serve(sockets=[]))
    await server.up.wait()
    accept = Accepting(settings, server, make, me.crowd)
    accepting = [loop.create_task(accept.plain(me.listener))]
    if me.secure is not None:
        accepting.append(loop.create_task(accept.secure(me.secure.listener, me.secure.keyring)))
    watching = loop.create_task(end_stalled(server.server_state.connections, settings.http.send_timeout))
    auditing = loop.create_task(_close_intervals(me))
    stop = asyncio.Event()
    child.on_terminate(lambda: loop.call_soon_threadsafe(stop.set))
    print("ready", flush=True)  # noqa: T201 - the parent reads it
    await stop.wait()
    for one in accepting:
        one.cancel()
    # Its reader must be off the loop first: the parent keeps the socket open, so that epoll would go on reporting
    # connections that wait there, and the loop would spin on a descriptor that it no longer knows.
    await asyncio.wait(accepting)
    me.close_listeners()
    server.should_exit = True
    await serving
    watching.cancel()
    auditing.cancel()
    await repository.audit.close(force=True)


async def _close_intervals(me: Child) -> None:
    while True:
        await asyncio.sleep(_CLOSE_EVERY)
        try:
            await me.assembled.repository.audit.close(force=False)
        except UnavailableError as error:
            log.warning("audit.counts_lost", extra={"reason": str(error)})


def main() -> None:
    """Serve until SIGTERM."""
    me = child.start(Kind.HTTP, sys.argv[1:])
    uvloop.run(_serve(me))
    me.assembled.close()


if __name__ == "__main__":
    main()
