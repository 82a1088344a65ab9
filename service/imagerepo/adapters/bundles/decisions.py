"""What a commit does with each of its requests, under the locks of their studies: no input, no output."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from imagerepo.adapters.bundles.item import Item, Stored
from imagerepo.adapters.bundles.known import Name, State
from imagerepo.adapters.index_sql import apply
from imagerepo.adapters.segments import lines
from imagerepo.adapters.segments.decide import Decided, Decision, History, as_known, decide
from imagerepo.adapters.segments.lines import Link
from imagerepo.model.events import Action, CommitKind, Committed, JournalRequest, StoreRequest


@dataclass(slots=True)
class Entries:
    """The journal lines of one institution in a commit."""

    link: Link  # where the chain stands behind them
    lines: list[bytes] = field(default_factory=list[bytes])
    stored: int = 0  # lines of action `store`

    def add(self, line: bytes) -> None:
        """Follow with one more."""
        self.link = lines.follow(self.link, line)
        self.lines.append(line)


@dataclass(slots=True)
class Decisions:
    """What is to be written, and what is to be answered once it is."""

    commit: int
    stored: list[tuple[Item, apply.Stored]] = field(default_factory=list[tuple[Item, apply.Stored]])
    answers: list[tuple[Item, Committed]] = field(default_factory=list[tuple[Item, Committed]])
    objects: dict[Stored, list[Item]] = field(default_factory=dict[Stored, list[Item]])
    """Objects that came with the requests, and which of these are stored."""
    unneeded: list[Item] = field(default_factory=list[Item])  # with bytes, and not stored
    journal: dict[str, Entries] = field(default_factory=dict[str, Entries])  # by institution

    def entries(self, institution: str, state: State) -> Entries:
        """Those of an institution."""
        found = self.journal.get(institution)
        if found is None:
            found = self.journal[institution] = Entries(state.links.get(institution, lines.START))
        return found


def made(items: Sequence[Item], state: State, keys: dict[str, int]) -> Decisions:
    """Decide, in order; what has to come again is in no list.

    Args:
        items: journal entries, and instances whose studies are locked.
        state: what there is; its histories go on as instances are stored.
        keys: of institutions.
    """
    done = Decisions(state.commit)
    for item in items:
        request = item.request
        if isinstance(request, JournalRequest):
            entries = done.entries(request.caller.institution, state)
            entries.add(lines.journal_line(request, state.commit, entries.link))
            done.answers.append((item, Committed(CommitKind.JOURNALED)))
        elif isinstance(request, StoreRequest):
            name = (keys[request.caller.institution], request.attributes.instance_uid)
            _store(item, request, name, state, done)
    return done


def _store(item: Item, request: StoreRequest, name: Name, state: State, done: Decisions) -> None:
    history = state.histories.get(name)
    if history is None:
        history = state.histories[name] = History([], 0)
    decided = decide(request, history)
    if item.object_ is not None:
        needed = done.objects.setdefault(item.object_, [])
        if decided.decision is not Decision.STORE:
            done.unneeded.append(item)
        else:
            needed.append(item)
    match decided.decision:
        case Decision.DUPLICATE:
            done.answers.append((item, Committed(CommitKind.DUPLICATE, decided.version)))
        case Decision.REFUSE:
            _refuse(item, request, decided, state, done)
        case Decision.STORE if item.where is not None:
            entries = done.entries(request.caller.institution, state)
            entries.add(lines.store_line(request, decided.version, (item.where,), state.commit, entries.link))
            entries.stored += 1
            history.known.append(as_known(request, decided.version))
            row = _row(item, request, decided.version, (state.commit, len(done.stored)))
            done.stored.append((item, row))
        case Decision.STORE:
            pass  # it was not to be stored a moment ago: its bytes are written when it comes again


def _refuse(item: Item, request: StoreRequest, decided: Decided, state: State, done: Decisions) -> None:
    detail = (("instance", request.attributes.instance_uid), ("reason", str(decided.error)))
    refusal = JournalRequest(request.caller, Action.REFUSE, request.received_at, detail)
    entries = done.entries(request.caller.institution, state)
    entries.add(lines.journal_line(refusal, state.commit, entries.link))
    done.answers.append((item, Committed(CommitKind.CONFLICT, error=decided.error)))


def _row(item: Item, request: StoreRequest, version: int, place: tuple[int, int]) -> apply.Stored:
    assert item.where is not None
    return apply.Stored(
        institution=request.caller.institution,
        attributes=request.attributes,
        layout=request.layout,
        transfer_syntax=request.transfer_syntax,
        number=version,
        digest=request.digest,
        crc32=request.crc32,
        size=request.payload.size,
        received_at=request.received_at,
        commit=place[0],
        place=place[1],
        ranges=(item.where,),
    )
