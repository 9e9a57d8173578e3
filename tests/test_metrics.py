"""Metrics: what they are called, what they say after something has happened, what they cost in numbers and secrets."""

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from e2e.objects import issued, secret, secret_of
from fairlead.runtime.outcomes import Outcome
from fairlead.server.metrics import Metrics
from fairlead.server.outcomes import RequestCounts, StartCounts
from fairlead.server.watchdog import Watchdog
from support.istio import TO_SHOP, gateway, http, service, tls, virtual_service
from support.server import Server
from support.stack import until

DOCUMENTED = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"
EDGE, ROUTE, SHOP = gateway("edge", http()), virtual_service("a", f"http: [{{{TO_SHOP}}}]"), service("shop")
TLS, CERTIFICATE = gateway("tls", tls('"*.example.com"')), issued("a.example.com", "a.example.com")

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scraped:
    """What a server says."""

    def __init__(self, server: Server) -> None:
        self.requests = RequestCounts(server.hub.world)
        starts = StartCounts(lambda: 0)
        self._metrics = Metrics(server.hub, server.xds, Watchdog(lambda: None), self.requests, starts)

    def text(self) -> str:
        return self._metrics.text().decode()

    def families(self) -> dict[str, str]:
        """Name -> kind."""
        return dict(re.findall(r"^# TYPE (\S+) (\S+)$", self.text(), re.MULTILINE))

    def samples(self) -> Samples:
        # Not by the library's parser, which gives counters other names than they have.
        found: Samples = {}
        for name, labels, value in re.findall(r"^(\w+)(?:\{(.*)\})? (\S+)$", self.text(), re.MULTILINE):
            found[name, frozenset(re.findall(r'(\w+)="(.*?)"', labels))] = float(value)
        return found

    def __getitem__(self, name: str) -> float:
        """The value of a metric, written with its label: `name type=cds`."""
        name, _, label = name.partition(" ")
        key, _, value = label.partition("=")
        return self.samples()[name, frozenset({(key, value)} if label else ())]


@asynccontextmanager
async def serving(tmp_path: Path, *texts: str) -> AsyncIterator[tuple[Server, Scraped]]:
    async with Server(tmp_path, *texts) as server:
        yield server, Scraped(server)


async def test_every_metric_is_documented_with_its_kind_and_labels(tmp_path: Path) -> None:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) ?\|", DOCUMENTED.read_text(), re.MULTILINE)
    async with serving(tmp_path, EDGE, ROUTE, SHOP, secret("cert", CERTIFICATE, "edge"), TLS) as (server, scraped):
        server.hub.counts.refused_stream("test")
        scraped.requests.add([("Service edge/shop", Outcome.LIMITED, 1)])
        async with server.client() as client:
            await client.until(lambda: client.names("eds") and client.names("sds"))
            found = {name: kind for name, kind in scraped.families().items() if not re.match("process_|python_", name)}
            assert found == {name: kind for name, kind, _ in rows}
            labels: dict[str, set[str]] = {}
            for name, given in scraped.samples():
                labels.setdefault(re.sub(r"_(bucket|sum|count)$", "", name), set()).update(key for key, _ in given)
            for name, _, listed in rows:
                assert labels[name] - {"le"} == set(re.findall(r"`(\w+)`", listed)), name
        assert {"process_resident_memory_bytes", "python_gc_collections_total"} <= scraped.families().keys()


async def test_a_change_is_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, EDGE, ROUTE, SHOP) as (server, scraped):
        assert scraped["pilot_xds version=" + version("fairlead")] == 0
        assert scraped["fairlead_ready"] == 1
        async with server.client() as client:
            await client.until(lambda: client.names("eds") and client.names("rds"))
            await server.settled()
            assert scraped["pilot_xds version=" + version("fairlead")] == 1
            assert scraped["pilot_proxy_convergence_time_count"] == 0
            pushes = scraped["pilot_xds_pushes type=rds"]
            server.write("1.yaml", virtual_service("a", f"http: [{{{TO_SHOP}, timeout: 3s}}]"))
            await until(lambda: scraped["pilot_proxy_convergence_time_count"] == 1, "the client has got it")
            assert scraped["pilot_xds_pushes type=rds"] == pushes + 1
            assert scraped["pilot_proxy_queue_time_count"] == 1
            assert scraped["fairlead_last_change_waiting"] == 0
            assert 0 < scraped["pilot_proxy_convergence_time_sum"] < 30
            sent = sum(scraped[f"pilot_xds_pushes type={name}"] for name in ("cds", "eds", "lds", "rds"))
            for name in ("pilot_xds_push_time_count", "pilot_xds_config_size_bytes_count"):
                assert sum(scraped[f"{name} type={kind}"] for kind in ("cds", "eds", "lds", "rds")) == sent
        await until(lambda: scraped["pilot_xds version=" + version("fairlead")] == 0, "it has vanished")


async def test_requests_are_counted_by_objects_that_exist(tmp_path: Path) -> None:
    async with serving(tmp_path, EDGE, ROUTE, SHOP) as (server, scraped):
        for of in ("Service edge/shop", "Service edge/other", "Service shop/shop", "Other edge/shop", "x", ""):
            scraped.requests.add([(of, Outcome.LIMITED, 2), (of, Outcome.LIMITED, 3)])
        labels = {("kind", "Service"), ("namespace", "edge"), ("name", "shop"), ("outcome", "limited")}
        found = {key: number for (name, key), number in scraped.samples().items() if name == "fairlead_requests_total"}
        assert found == {frozenset(labels): 5}
        server.write("2.yaml", "")
        await until(lambda: "fairlead_requests_total{" not in scraped.text(), "the object is gone")


async def test_objects_are_counted(tmp_path: Path) -> None:
    async with serving(tmp_path, EDGE, ROUTE, SHOP) as (server, scraped):
        assert (scraped["pilot_services"], scraped["pilot_virt_services"]) == (1, 1)
        assert scraped["fairlead_objects kind=Gateway"] == 1
        assert scraped["pilot_inbound_updates type=svc"] == 1
        assert scraped["pilot_inbound_updates type=config"] == 2
        assert scraped["pilot_push_triggers type=service"] == 1
        server.write("3.yaml", "apiVersion: [")
        server.write("4.yaml", f"{TLS}---{secret_of('cert', b'no certificate', b'no key', 'edge')}")
        await until(lambda: scraped["pilot_sds_certificate_errors_total"] == 2, "certificate and key are no PEM")
        await until(lambda: scraped["pilot_total_rejected_configs"] == 3, "so is the file no YAML")
        assert scraped["fairlead_problems severity=error"] == 3
        server.write("3.yaml", "")
        server.write("4.yaml", "")
        await until(lambda: scraped["fairlead_problems severity=error"] == 0, "they are solved")
        assert scraped["pilot_total_rejected_configs"] == 3
        server.write("2.yaml", "")
        await until(lambda: scraped["pilot_services"] == 0, "it is gone")
        assert scraped["pilot_inbound_updates type=svcdelete"] == 1


async def test_a_refusal_is_counted_until_it_is_over(tmp_path: Path) -> None:
    async with serving(tmp_path, EDGE, ROUTE, SHOP) as (server, scraped), server.client() as client:
        client.refuse = lambda kind, _names: "no" if kind == "cds" else ""
        await until(lambda: scraped["pilot_xds_cds_reject"] == 1, "it refuses")
        assert scraped["pilot_total_xds_rejects type=cds"] == 1
        assert scraped["pilot_xds_lds_reject"] == 0
        client.refuse = lambda _kind, _names: ""
        server.write("1.yaml", "")
        await until(lambda: scraped["pilot_xds_cds_reject"] == 0, "there is nothing that it lacks")
        assert scraped["pilot_total_xds_rejects type=cds"] == 1


async def test_certificates_tell_when_they_expire_and_nothing_else(tmp_path: Path) -> None:
    async with serving(tmp_path, TLS, secret("cert", CERTIFICATE, "edge")) as (server, scraped):
        assert "edge/cert" not in scraped.text()  # nobody is served it
        async with server.client() as client:
            await client.until(lambda: client.names("sds"))
            left = scraped["fairlead_certificate_expiry_seconds secret=edge/cert"]
            assert 300 * 86400 < left < 365 * 86400
            assert "BEGIN" not in scraped.text()


async def test_the_number_of_metrics_does_not_grow_with_that_of_proxies(tmp_path: Path) -> None:
    async with serving(tmp_path, EDGE, ROUTE, SHOP) as (server, scraped), AsyncExitStack() as exits:

        async def grow(number: int) -> int:
            client = await exits.enter_async_context(server.client(node_id=f"edge-{number}"))
            client.refuse = lambda kind, _names: "no" if kind == "cds" else ""
            await until(lambda: scraped["pilot_xds_cds_reject"] == number, "it refuses")
            return len(scraped.samples())

        assert await grow(1) == await grow(2) == await grow(3)
        assert "edge-" not in scraped.text()
