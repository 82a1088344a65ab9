"""The application that a server runs: the protocols' routes behind one edge."""

from collections.abc import Sequence

from starlette.routing import BaseRoute, Router
from starlette.types import ASGIApp

from imagerepo.flows.repository import Repository
from imagerepo.web import probes
from imagerepo.web.edge import Edge, not_found
from imagerepo.web.state import ServingState


def make_app(repository: Repository, routes: Sequence[BaseRoute], state: ServingState) -> ASGIApp:
    """Put together what one process serves; `routes` are tried in their order, probes after them."""
    everything = [*routes, *probes.routes(repository, state)]
    return Edge(Router(everything, redirect_slashes=False, default=not_found))
