"""All that a task worker does: follow what arrives, do what is due."""

from dataclasses import dataclass

from imagerepo.flows.blocking_audit import BlockingAudit
from imagerepo.flows.destinations import Destinations
from imagerepo.flows.forwarding import Forwarding
from imagerepo.flows.nodes import Nodes
from imagerepo.flows.rules import Rules
from imagerepo.flows.webhooks import Announcing, Hooks
from imagerepo.flows.work import Workforce
from imagerepo.ports.tasks import Tasks
from imagerepo.settings import Settings


@dataclass(slots=True)
class Office:
    """One worker's. For one thread."""

    tasks: Tasks
    nodes: Nodes
    destinations: Destinations
    forwarding: Forwarding
    workforce: Workforce
    audit: BlockingAudit
    rules: Rules
    hooks: Hooks
    announcing: Announcing

    def open(self) -> None:
        """Begin: whoever held tasks has died. Raises UnavailableError."""
        self.tasks.give_back_all()

    def look(self) -> None:
        """Do what there is to be done now; returns before it is done. Raises UnavailableError."""
        while self.forwarding.look(self.rules, self.destinations):
            self.workforce.look()
        self.announcing.look(self.hooks)
        self.workforce.look()

    def replace(self, settings: Settings) -> None:
        """Use other rules and destinations from now on."""
        self.nodes.replace(settings)
        self.destinations.replace(settings)
        self.rules = Rules(settings.forwarding.rules)
        self.hooks.replace(settings.tenants)

    def close(self, seconds: float) -> None:
        """Finish what is being sent, as far as it takes no longer than that. Raises UnavailableError."""
        self.workforce.end(seconds)
        self.audit.close()
