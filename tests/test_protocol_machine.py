"""Any interleaving of edits, requests, refusals, stalls and reconnects: the client ends up with what the tables hold.

A model client keeps account of what it has been offered and of what it is entitled to be sent. On each response:

- it is not sent what it has, nor what it has refused, unless it asked for it or, for endpoints and virtual hosts, was
  just sent what needs them anew;
- what it is sent is the newest state;
- no removal comes before all that can refer to what is removed has been acknowledged, or before time is up.

And at the end, after a bounded number of responses: the client has been offered exactly what the tables hold.
"""

import pytest
from fairlead.protocol import conversation, ledger
from fairlead.protocol.delta import DeltaStream
from fairlead.protocol.events import SyncState
from fairlead.protocol.ledger import REMOVAL_PATIENCE
from fairlead.protocol.rules import EMPTY, FULL_STATE, IMPLICIT_WILDCARD, NAMED_IN_REFUSALS, REMOVAL_WAITS_FOR
from fairlead.protocol.sotw import StateOfTheWorldStream
from fairlead.snapshot.messages import DeltaDiscoveryRequest, DiscoveryRequest, ErrorDetail
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.table import Snapshot, Table, Variant
from fairlead.snapshot.types import (
    CLUSTER,
    CLUSTER_LOAD_ASSIGNMENT,
    EXTENSION_CONFIG,
    LISTENER,
    ROUTE_CONFIGURATION,
    RUNTIME,
    SECRET,
    VIRTUAL_HOST,
)
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.machines import run_machine
from support.xds_script import Got, read, resource

NAMES = {
    CLUSTER: ("A", "B"),
    CLUSTER_LOAD_ASSIGNMENT: ("A", "B"),
    SECRET: ("S", "T"),
    LISTENER: ("L", "M"),
    ROUTE_CONFIGURATION: ("R", "Q"),
    VIRTUAL_HOST: ("R/a", "R/b", "Q/a"),
    EXTENSION_CONFIG: ("F",),
    RUNTIME: ("X",),
}
WILDCARD_TYPES = (CLUSTER, LISTENER)
RESPONSES_TO_SETTLE = 60
TRIALS = 8
"""More than it takes to find one of the few names that there are."""
ERROR = ErrorDetail(13, "refused")

some_types = st.lists(st.sampled_from(list(NAMES)), min_size=1, unique=True)
subscriptions = st.fixed_dictionaries(
    {
        type_url: st.sampled_from(
            [set(), set(), {names[0]}, set(names)] if type_url in WILDCARD_TYPES else [set(names)]
        )
        for type_url, names in NAMES.items()
    }
)
edits = st.lists(
    st.sampled_from([(type_url, name) for type_url, names in NAMES.items() for name in names]).flatmap(
        lambda at: st.tuples(st.just(at), st.sampled_from([None, "1", "2"]))
    ),
    min_size=1,
    max_size=8,
)


class Account:
    """What the client knows of one type on its present stream."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.wildcard = False
        self.has: dict[str, str] = {}
        """What it has been offered, accepted or not."""
        self.refused: set[str] = set()
        self.before: dict[str, str | None] = {}
        """What it had of what is new in the unanswered response."""
        self.accused: dict[tuple[str, str], int] = {}
        """Name and content that were in a refused response -> how often they have been tried again since."""
        self.asked: set[str] = set()
        """What it has to be sent, or to be told that it does not exist, whatever it has."""
        self.may: set[str] = set()
        """What it had asked for and does not want by name any more: it may still be sent."""
        self.follows: set[str] = set()
        """What it has to be sent again because something else has changed."""
        self.owed = False
        """Whether it may be sent a response with nothing in it."""
        self.waits_for: set[str] = set()
        """Of virtual hosts: the route configurations that want at least one entry."""
        self.unasked: set[str] = set()
        """Of endpoints: those of new clusters, which may be sent although it does not want them yet."""
        self.introduced: set[str] = set()
        """Of virtual hosts: the route configurations that may be told that they have none."""
        self.unanswered: Got | None = None
        self.newest_nonce = ""
        self.last_refused: frozenset[str] | None = None
        """What was new in the last response that was answered, if that was refused."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def drop(self, names: set[str]) -> None:
        self.may |= self.asked & names
        self.asked -= names

    def forget_unwanted(self) -> None:
        self.asked, self.may, self.follows = (
            {name for name in held if self.wants(name)} for held in (self.asked, self.may, self.follows)
        )
        self.has = {name: content for name, content in self.has.items() if self.wants(name)}


class Machine(RuleBasedStateMachine):
    variant: Variant

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.snapshots = [Snapshot("one"), Snapshot("two")]
        self.snapshot = self.snapshots[0]
        self.accounts: dict[str, Account] = {}
        self.removed_at: dict[tuple[str, str], float] = {}
        self.responses = self.steps = 0
        self.nonces: set[str] = set()
        self.begin()

    def begin(self) -> None:
        """A new stream."""
        self.stream = DeltaStream() if self.variant is Variant.DELTA else StateOfTheWorldStream()
        self.nonces.clear()
        self.removed_at.clear()
        self.warming: set[str] = set()
        """Clusters that have been sent before the client has asked for endpoints."""

    # --- What the control plane does ---

    @initialize(edit=edits, types=some_types, names=subscriptions, early=st.booleans())
    def start(
        self, edit: list[tuple[tuple[str, str], str | None]], types: list[str], names: dict[str, set[str]], early: bool
    ) -> None:
        self.edit(edit, 0)
        if early:
            self.stream.offer(self.snapshot, self.now)
        self.open_types(types, names)
        self.stream.offer(self.snapshot, self.now)

    @rule(types=some_types, names=subscriptions)
    def open_types(self, types: list[str], names: dict[str, set[str]]) -> None:
        """Begin with types, those that have an implicit wildcard with that if no names are given."""
        for type_url in types:
            if type_url not in self.accounts:
                self.steps += 1
                self.open(type_url, set() if type_url == VIRTUAL_HOST else set(names[type_url]), {})

    def open(self, type_url: str, names: set[str], has: dict[str, str]) -> None:
        raise NotImplementedError

    @rule(edit=edits, which=st.sampled_from([0, 0, 0, 1]))
    def edit(self, edit: list[tuple[tuple[str, str], str | None]], which: int) -> None:
        self.steps += 1
        snapshot = self.snapshots[which]
        for (type_url, name), content in dict(edit).items():
            self.note_loss(snapshot, type_url, name, gone=content is None)
            snapshot.tables[type_url].update({name: None if content is None else resource(type_url, name, content)})
        self.stream.changed(self.now)

    def note_loss(self, snapshot: Snapshot, type_url: str, name: str, *, gone: bool) -> None:
        if snapshot is self.snapshot:
            if not gone:
                self.removed_at.pop((type_url, name), None)
            elif name in snapshot.tables[type_url]:
                self.removed_at[type_url, name] = self.now

    @rule(which=st.sampled_from([0, 1]))
    def move(self, which: int) -> None:
        self.steps += 1
        target = self.snapshots[which]
        for type_url, names in NAMES.items():
            for name in names:
                self.note_loss(self.snapshot, type_url, name, gone=name not in target.tables[type_url])
        self.snapshot = target
        self.stream.offer(target, self.now)

    @rule(seconds=st.sampled_from([1, 7, 15]))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    # --- What the client does ---

    @rule(at_most=st.integers(1, len(NAMES)))
    def pull(self, at_most: int) -> None:
        while at_most and self.take():
            at_most -= 1

    def take(self) -> bool:
        response = self.stream.next_response(self.now)
        if response is None:
            return False
        self.responses += 1
        got = read(self.variant, response)
        account = self.accounts[got.type_url]
        assert account.unanswered is None, "one response of a type is under way at most"
        assert got.nonce not in self.nonces
        self.nonces.add(got.nonce)
        sent = [name for name, _ in got.resources]
        assert len(set(sent)) == len(sent)
        assert not set(sent) & {*got.removed, *got.errors}
        self.judge(account, got)
        account.unanswered, account.newest_nonce, account.owed = got, got.nonce, False
        return True

    def judge(self, account: Account, got: Got) -> None:
        table = self.snapshot.tables[got.type_url]
        full_state = self.variant is Variant.STATE_OF_THE_WORLD and got.type_url in FULL_STATE
        before, resources = dict(account.has), dict(got.resources)
        entries = {name for name, content in resources.items() if content == "~"}
        entitled = {*account.asked, *account.may, *account.follows}
        for name, content in resources.items():
            if name in entries:
                told_again = self.has_been_accused(account, name)
                assert name in entitled or told_again or name.removesuffix("/*") in account.introduced
                continue
            assert account.wants(name) or name in account.unasked
            current = table.get(name)
            tried = (name, content) in account.accused
            if tried and not full_state:
                account.accused[name, content] += 1
                assert account.accused[name, content] <= TRIALS, "no end of trials"
            if current is None:
                assert content == "empty" or before.get(name) or name in entitled, "kept, or told to be empty"
            elif current != resource(got.type_url, name, content):
                assert self.is_accused(account, name, current), "the newest state"
                assert content in {"empty", before.get(name)} or name in entitled, "what it had accepted"
            told_again = content == "empty" and (name in account.refused or self.has_been_accused(account, name))
            if not full_state and not tried and not told_again:
                assert name in entitled or before.get(name) != content, "it has that"
        for name in got.removed:
            assert self.may_be_denied(account, name, table)
            assert name in before or name in entitled or self.has_been_accused(account, name)
        for name in got.errors:
            assert self.may_be_denied(account, name, table)
            assert name in account.names
            assert name in before or name in entitled or self.has_been_accused(account, name)
        gone = set(before) - set(resources) if full_state else {*got.removed, *got.errors}
        for name in gone & before.keys() - entitled:
            self.judge_removal(got.type_url, name)

        told = {*resources, *got.removed, *got.errors, *gone}
        account.introduced -= {name.removesuffix("/*") for name in entries}
        if full_state:
            changed = {name for name in resources if name in account.asked or before.get(name) != resources[name]}
            assert changed or gone or got.errors or account.owed or self.tries_again(account, resources), "nothing new"
            account.before = {name: before.get(name) for name in changed}
            account.has = resources
            if got.type_url == CLUSTER and (endpoints := self.accounts.get(CLUSTER_LOAD_ASSIGNMENT)):
                # Where clusters are sent once more after a refusal that named nothing, their endpoints may come along.
                again = {name for name, content in resources.items() if (name, content) in account.accused}
                endpoints.may |= again & endpoints.names
        else:
            changed = set(resources) - entries
            assert told or (account.owed and self.variant is Variant.DELTA), "nothing at all"
            account.before = {name: before.get(name) for name in changed}
            account.has |= {name: resources[name] for name in changed if account.wants(name)}
            account.unasked -= changed
            for name in gone:
                account.has.pop(name, None)
        new = {name for name in changed if name in account.asked or before.get(name, "empty") == "empty"}
        self.follow(got.type_url, changed, {name for name in new if resources[name] != "empty"})
        account.waits_for = {table for table in account.waits_for if not any(n.startswith(f"{table}/") for n in told)}
        for answered in (account.asked, account.may, account.follows, account.refused):
            answered.difference_update(told)

    def tries_again(self, account: Account, resources: dict[str, str]) -> bool:
        """Whether they have been refused, in words that name nothing, and may have been away in between."""
        again = account.accused.keys() & resources.items()
        for item in again:
            account.accused[item] += 1
            assert account.accused[item] <= TRIALS, "no end of trials"
        return bool(again)

    def judge_removal(self, type_url: str, name: str) -> None:
        removed_at = self.removed_at.get((type_url, name))
        if removed_at is None or self.now >= removed_at + REMOVAL_PATIENCE:
            return
        for referrer in REMOVAL_WAITS_FOR.get(type_url, ()):
            account = self.accounts.get(referrer)
            if account is not None and (account.wildcard or account.names):  # else it has dropped what it had
                refused = account.last_refused
                wanted = refused is not None and (not refused or any(map(account.wants, refused)))
                assert account.unanswered is None, f"{referrer} is under way"
                assert not wanted, f"{referrer} was refused"
                assert self.difference(referrer, account) == {}, f"{referrer} has not been sent"

    def follow(self, type_url: str, changed: set[str], new: set[str]) -> None:
        if type_url == CLUSTER and CLUSTER_LOAD_ASSIGNMENT not in self.accounts:
            self.warming |= changed
        if type_url == CLUSTER and (endpoints := self.accounts.get(CLUSTER_LOAD_ASSIGNMENT)):
            endpoints.follows |= changed & endpoints.names & self.snapshot.tables[CLUSTER].names()
            if endpoints.names:
                endpoints.unasked |= changed - endpoints.names
        if type_url == ROUTE_CONFIGURATION and (hosts := self.accounts.get(VIRTUAL_HOST)):
            present = new & self.snapshot.tables[type_url].names()
            dropped = {name for name in hosts.has if name.partition("/")[0] in present}
            hosts.may |= dropped
            hosts.has = {name: content for name, content in hosts.has.items() if name not in dropped}
            offered = self.snapshot.tables[VIRTUAL_HOST].names()
            hosts.follows |= {name for name in offered if name.partition("/")[0] in present and hosts.wants(name)}
            hosts.waits_for |= present
            hosts.introduced |= present
            # What is sent again after a refusal that named nothing may be taken for new: nobody knows what it has.
            again = {name for name in changed if self.has_been_accused(self.accounts[type_url], name)}
            hosts.introduced |= again
            hosts.may |= {
                name for name in self.snapshot.tables[VIRTUAL_HOST].names() if name.partition("/")[0] in again
            }

    @rule(types=some_types, refuse=st.sampled_from([False, False, True]))
    def answer(self, types: list[str], refuse: bool) -> None:
        for type_url in types:
            account = self.accounts.get(type_url)
            if account is not None and account.unanswered is not None:
                self.send(type_url, account, refuse=refuse)

    def send(self, type_url: str, account: Account, *, refuse: bool = False) -> None:
        """Send a request that answers the newest response, if it has not been answered."""
        self.steps += 1
        if account.unanswered is not None:
            account.last_refused = frozenset(account.before) if refuse else None
            if refuse:
                account.refused |= {name for name, _ in account.unanswered.resources}
                if account.before and type_url not in NAMED_IN_REFUSALS:
                    got = account.unanswered  # what it told of what is not there is told once more
                    account.may |= {
                        *got.removed,
                        *got.errors,
                        *(name for name, held in got.resources if held == "empty"),
                    }
                self.take_back(type_url, account)
        account.unanswered = None
        self.request(type_url, account, ERROR if refuse else None)

    def take_back(self, type_url: str, account: Account) -> None:
        """Of what it has refused, it has what it had before: as far as it is known what it means."""
        for name, held in account.before.items():
            content = account.has.get(name)
            if content is None:
                continue
            account.accused[name, content] = account.accused.get((name, content), 0)
            if type_url not in NAMED_IN_REFUSALS:
                account.has.pop(name)
                if held is not None:
                    account.has[name] = held

    def may_be_denied(self, account: Account, name: str, table: Table) -> bool:
        current = table.get(name)
        return current is None or self.is_accused(account, name, current)

    def has_been_accused(self, account: Account, name: str) -> bool:
        return any(known == name for known, _ in account.accused)

    def is_accused(self, account: Account, name: str, current: Resource) -> bool:
        return any(
            current == resource(current.type_url, name, content) for known, content in account.accused if known == name
        )

    def request(self, type_url: str, account: Account, error: ErrorDetail | None) -> None:
        raise NotImplementedError

    # --- What has to be true ---

    def difference(self, type_url: str, account: Account) -> dict[str, tuple[str | None, str | None]]:
        """Name -> what the client has been offered, and what it should have."""
        table = self.snapshot.tables[type_url]
        wanted = {name: found for name in table.names() if account.wants(name) and (found := table.get(name))}
        difference: dict[str, tuple[str | None, str | None]] = {}
        for name in {*wanted, *account.has, *account.names}:
            has = account.has.get(name)
            held = resource(type_url, name, has) if has is not None else None
            should = wanted.get(name)
            if should is None and name in account.names and type_url in EMPTY:
                should = EMPTY[type_url](name)
            if should is not None and self.is_accused(account, name, should):
                continue
            if (held and held.version) != (should and should.version):
                difference[name] = (held and held.version, should and should.version)
        return difference

    @invariant()
    def responses_are_bounded(self) -> None:
        assert self.responses <= RESPONSES_TO_SETTLE + 8 * self.steps

    def teardown(self) -> None:
        for _ in range(RESPONSES_TO_SETTLE):
            while self.take():
                pass
            unanswered = [item for item in self.accounts.items() if item[1].unanswered is not None]
            for type_url, account in unanswered:
                self.send(type_url, account)
            if not unanswered and (wake_at := self.stream.wake_at) is not None:
                self.now = wake_at
            elif not unanswered:
                break
        else:
            raise AssertionError("no end of responses")
        status = self.stream.status()
        for type_url, account in self.accounts.items():
            assert self.difference(type_url, account) == {}, type_url
            assert not account.asked
            table = self.snapshot.tables[type_url]
            assert not {
                name
                for name in account.follows
                if (found := table.get(name)) and not self.is_accused(account, name, found)
            }
            assert not {table for table in account.waits_for if not any(n.startswith(f"{table}/") for n in account.has)}
            if type_url in status and status[type_url].state is not SyncState.NOT_SENT:
                rejected = status[type_url].state is SyncState.REJECTED
                assert rejected <= (bool(account.accused) or account.last_refused is not None)
        assert not self.stream.changed(self.now)


class DeltaMachine(Machine):
    variant = Variant.DELTA

    def __init__(self) -> None:
        super().__init__()
        self.subscribe: list[str] = []
        self.unsubscribe: list[str] = []
        self.claims: dict[str, str] = {}

    def request(self, type_url: str, account: Account, error: ErrorDetail | None) -> None:
        assert isinstance(self.stream, DeltaStream)
        self.stream.receive(
            DeltaDiscoveryRequest(
                type_url,
                subscribe=tuple(self.subscribe),
                unsubscribe=tuple(self.unsubscribe),
                initial_versions=self.claims,
                nonce=account.newest_nonce,
                error=error,
            )
        )
        self.subscribe, self.unsubscribe, self.claims = [], [], {}

    def open(self, type_url: str, names: set[str], has: dict[str, str], *, wildcard: bool = False) -> None:
        if not names and type_url not in IMPLICIT_WILDCARD:
            return
        account = self.accounts[type_url] = Account()
        account.names, account.wildcard = names, wildcard or not names
        account.owed = account.wildcard
        account.has = {name: content for name, content in has.items() if account.wants(name)}
        account.asked = names - set(has)
        if type_url == CLUSTER_LOAD_ASSIGNMENT:
            account.follows = self.warming & names
        if type_url == VIRTUAL_HOST and (routes := self.accounts.get(ROUTE_CONFIGURATION)):
            hosts = self.snapshot.tables[VIRTUAL_HOST].names()
            account.introduced = set(routes.names)
            account.waits_for = {
                table for table in routes.names if not has or not any(name.startswith(f"{table}/") for name in hosts)
            }
        self.subscribe = [*sorted(names), *(["*"] if wildcard and names else [])]
        self.claims = {name: resource(type_url, name, content).version for name, content in has.items()}
        self.request(type_url, account, None)

    @rule(type_url=st.sampled_from(list(NAMES)), data=st.data(), answers=st.booleans(), refuse=st.booleans())
    def resubscribe(self, type_url: str, data: st.DataObject, answers: bool, refuse: bool) -> None:
        account = self.accounts.get(type_url)
        if account is None:
            return
        pool = [*NAMES[type_url], *(["*"] if type_url in WILDCARD_TYPES else [])]
        subscribe = data.draw(st.sets(st.sampled_from(pool)))
        unsubscribe = data.draw(st.sets(st.sampled_from(pool)))
        was_wildcard, old_names = account.wildcard, set(account.names)
        account.names = (account.names | subscribe) - unsubscribe - {"*"}
        account.wildcard = (was_wildcard or "*" in subscribe) and "*" not in unsubscribe
        dropped = old_names - account.names
        account.drop(dropped)
        account.forget_unwanted()
        account.asked |= subscribe & account.names
        if account.wildcard != was_wildcard:
            account.owed = account.wildcard
        table = self.snapshot.tables[type_url]
        if account.wildcard:
            if was_wildcard:
                if "*" in subscribe:
                    account.follows |= {*table.names(), *account.has}
                account.follows |= dropped - account.may
            account.may |= dropped
        self.subscribe, self.unsubscribe = sorted(subscribe), sorted(unsubscribe)
        if answers:
            self.send(type_url, account, refuse=refuse and account.unanswered is not None)
        else:
            self.steps += 1
            nonce, account.newest_nonce = account.newest_nonce, "stale"
            self.request(type_url, account, ERROR if refuse else None)
            account.newest_nonce = nonce

    @rule()
    def reconnect(self) -> None:
        self.steps += 1
        self.begin()
        self.stream.offer(self.snapshot, self.now)
        accounts, self.accounts = self.accounts, {}
        for type_url, old in accounts.items():
            if old.names or old.wildcard:
                has = {name: content for name, content in old.has.items() if name not in old.refused}
                self.open(type_url, set(old.names), has, wildcard=old.wildcard)


class StateOfTheWorldMachine(Machine):
    variant = Variant.STATE_OF_THE_WORLD

    def request(self, type_url: str, account: Account, error: ErrorDetail | None) -> None:
        assert isinstance(self.stream, StateOfTheWorldStream)
        explicit = [*sorted(account.names), *(["*"] if account.wildcard and account.names else [])]
        self.stream.receive(DiscoveryRequest(type_url, names=tuple(explicit), nonce=account.newest_nonce, error=error))

    def open(self, type_url: str, names: set[str], has: dict[str, str], *, wildcard: bool = False) -> None:
        assert not has
        if type_url != VIRTUAL_HOST and (names or type_url in IMPLICIT_WILDCARD):
            account = self.accounts[type_url] = Account()
            account.names, account.wildcard = names, wildcard or not names
            account.owed, account.asked = account.wildcard, set(names)
            self.request(type_url, account, None)

    @rule(type_url=st.sampled_from(list(NAMES)), data=st.data(), refuse=st.booleans())
    def resubscribe(self, type_url: str, data: st.DataObject, refuse: bool) -> None:
        account = self.accounts.get(type_url)
        if account is None or not account.newest_nonce:
            return
        names = data.draw(st.sets(st.sampled_from(NAMES[type_url])))
        wildcard = bool(names) and type_url in WILDCARD_TYPES and data.draw(st.booleans())
        if account.wildcard and not account.names and not names:
            wildcard = True  # a client that has never named anything goes on to want everything
        new = names - account.names
        if account.wildcard and wildcard:
            new -= self.snapshot.tables[type_url].names()
        elif wildcard:
            account.owed = True
            account.may |= self.snapshot.tables[type_url].names()
        elif account.wildcard:
            account.owed = False
        repeated = (names, wildcard) == (account.names, account.wildcard)
        if repeated and type_url not in FULL_STATE and account.unanswered is None and not refuse:
            new = set(names)
        account.drop(account.names - names)
        account.names, account.wildcard = names, wildcard
        account.forget_unwanted()
        account.asked |= new
        self.send(type_url, account, refuse=refuse)

    @rule(type_url=st.sampled_from(list(NAMES)), data=st.data())
    def say_something_stale(self, type_url: str, data: st.DataObject) -> None:
        account = self.accounts.get(type_url)
        if account is not None and account.newest_nonce:
            self.steps += 1
            assert isinstance(self.stream, StateOfTheWorldStream)
            names = data.draw(st.sets(st.sampled_from(NAMES[type_url])))
            nonce = data.draw(st.sampled_from(["", "stale"]))
            self.stream.receive(DiscoveryRequest(type_url, names=tuple(names), nonce=nonce))

    @rule()
    def reconnect(self) -> None:
        self.steps += 1
        self.begin()
        self.stream.offer(self.snapshot, self.now)
        accounts, self.accounts = self.accounts, {}
        for type_url, old in accounts.items():
            if old.names or old.wildcard:
                self.open(type_url, set(old.names), {}, wildcard=old.wildcard)


MACHINES = [DeltaMachine, StateOfTheWorldMachine]


@pytest.fixture(params=["", "tiny"], autouse=True)
def limits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once as they are, and once so small that a few names exceed them."""
    if request.param == "tiny":
        monkeypatch.setattr(ledger, "MANY_CHANGES", 2)
        monkeypatch.setattr(conversation, "RESPONSE_BYTES", 1)
        monkeypatch.setattr(conversation, "ABSENCES_PER_RESPONSE", 1)


@pytest.mark.parametrize("machine", MACHINES)
def test_any_interleaving_converges(machine: type[Machine]) -> None:
    run_machine(machine, examples=300, steps=40)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("machine", MACHINES)
def test_very_many_interleavings_converge(machine: type[Machine]) -> None:
    run_machine(machine, examples=1000, steps=60)
