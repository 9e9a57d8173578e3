"""Metrics for Prometheus, under the names that istiod's users know where they mean the same; see docs/metrics.md.

Values are put together when they are asked for, so that streams only count. None is kept by proxy, so their number does
not grow with the number of proxies.
"""

import base64
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import version

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead.certificates.reading import end_of
from fairlead.problems import Severity
from fairlead.render.readable import readable
from fairlead.server.ads import XdsServer
from fairlead.server.histogram import Histogram
from fairlead.server.hub import Hub
from fairlead.server.report import lacking
from fairlead.server.watchdog import Watchdog
from fairlead.snapshot.resource import Resource
from fairlead.snapshot.types import SECRET, SHORT_NAMES

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_CREDENTIAL_KINDS = ("Secret", "ConfigMap", "ASMCredential")
_TYPES_ISTIO_TELLS = ("cds", "eds", "lds", "rds")


class Metrics(Collector):
    """All metrics of a server, in a registry of its own."""

    def __init__(self, hub: Hub, xds: XdsServer, watchdog: Watchdog, *more: Collector) -> None:
        """`more` are those that others tell."""
        self._hub = hub
        self._xds = xds
        self._watchdog = watchdog
        self._ends: dict[Resource, float | None] = {}
        """Secrets that are served -> when they expire, in seconds since 1970."""
        self._istio_counters: set[str] = set()
        self._registry = CollectorRegistry()
        for collector in (self, *more):
            self._registry.register(collector)
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        text = generate_latest(self._registry).decode()
        for name in self._istio_counters:  # which do not end in _total; the library describes them as if they did
            text = text.replace(f"# HELP {name}_total ", f"# HELP {name} ")
            text = text.replace(f"# TYPE {name}_total ", f"# TYPE {name} ")
        return text.encode()

    def collect(self) -> Iterable[Metric]:
        """As `prometheus_client` asks for them."""
        yield from self._of_proxies()
        yield from self._of_objects()
        yield from self._of_server()

    # --- Proxies ---

    def _of_proxies(self) -> Iterator[Metric]:
        counts = self._hub.counts
        yield _gauge(
            "pilot_xds", "Streams that are connected", {version("fairlead"): len(self._xds.connections)}, "version"
        )
        yield self._counter("pilot_xds_pushes", "Responses sent", _by_type(counts.pushes), "type")
        yield _histograms(
            "pilot_xds_push_time",
            "Seconds from the making of a response until the transport has taken it",
            counts.push_seconds,
        )
        yield _histograms("pilot_xds_config_size_bytes", "Bytes of a response", counts.push_bytes)
        yield _histogram(
            "pilot_proxy_queue_time",
            "Seconds from the moment when a change is translated until a stream is sent its first response",
            counts.queue_seconds,
        )
        yield _histogram(
            "pilot_proxy_convergence_time",
            "Seconds from the moment when a change is noticed until a proxy has acknowledged all of it",
            counts.convergence_seconds,
        )
        yield self._counter("pilot_total_xds_rejects", "Responses refused", _by_type(counts.rejects), "type")
        lacked = [type_url for connection in self._xds.connections for type_url in lacking(connection)]
        for type_url, name in SHORT_NAMES.items():
            if name in _TYPES_ISTIO_TELLS:
                text = f"Streams that lack a resource of {name.upper()} because they have refused it"
                yield GaugeMetricFamily(f"pilot_xds_{name}_reject", text, lacked.count(type_url))
        yield self._counter(
            "pilot_xds_expired_nonce",
            "Requests that answer an older response than the newest",
            _by_type(counts.expired_nonces),
            "type",
        )
        yield self._counter(
            "pilot_total_xds_internal_errors", "Streams that ended by a fault of Fairlead's", counts.internal_errors
        )
        yield _counter(
            "fairlead_refused_streams",
            "Streams that were ended for what their client did",
            counts.refused_streams,
            "reason",
        )
        change = self._hub.convergence.last_change()
        yield GaugeMetricFamily(
            "fairlead_last_change_waiting",
            "Streams that have not answered all of the last change",
            0 if change is None else change.waiting,
        )

    # --- Objects ---

    def _of_objects(self) -> Iterator[Metric]:
        counts, problems = self._hub.counts, self._hub.problem_counts
        objects = self._hub.world.count()
        services = sum(objects.get(kind, 0) for kind in ("Service", "ServiceEntry"))
        yield GaugeMetricFamily("pilot_services", "Services and ServiceEntries", services)
        yield GaugeMetricFamily("pilot_virt_services", "VirtualServices", objects.get("VirtualService", 0))
        yield _gauge("fairlead_objects", "Accepted objects", objects, "kind")
        yield self._counter("pilot_push_triggers", "Waves, by what they are about", counts.triggers, "type")
        yield self._counter("pilot_inbound_updates", "Changed objects", counts.updates, "type")
        errors = {kind: number for (severity, kind), number in problems.appeared.items() if severity is Severity.ERROR}
        yield self._counter("pilot_total_rejected_configs", "Errors that were found in objects", sum(errors.values()))
        yield CounterMetricFamily(
            "pilot_sds_certificate_errors",
            "Errors that were found in Secrets and other objects with certificates",
            sum(errors.get(kind, 0) for kind in _CREDENTIAL_KINDS),
        )
        without = sum(number for (_, code), number in problems.present.items() if code == "no-endpoints")
        yield GaugeMetricFamily("pilot_eds_no_instances", "Services in use that have no endpoints", without)
        present = {
            level.value: sum(number for (severity, _), number in problems.present.items() if severity is level)
            for level in Severity
        }
        yield _gauge("fairlead_problems", "Problems of objects that are open", present, "severity")
        yield _gauge(
            "fairlead_certificate_expiry_seconds",
            "Seconds until the first certificate of a Secret that is served expires",
            self._expiries(),
            "secret",
        )

    def _expiries(self) -> dict[str, float]:
        tables = {group.snapshot.tables[SECRET] for group in self._hub.groups}
        secrets = {secret for table in tables for name in table.names() if (secret := table.get(name)) is not None}
        self._ends = {secret: self._ends.get(secret) or _end(secret) for secret in secrets}
        expiries: dict[str, float] = {}
        for secret, end in self._ends.items():
            if end is None:
                continue
            key = secret.origin[0]
            name = f"{key.namespace}/{key.name}"
            expiries[name] = min(end - time.time(), expiries.get(name, float("inf")))
        return expiries

    # --- The server itself ---

    def _of_server(self) -> Iterator[Metric]:
        ready = self._hub.ready.is_set()
        yield GaugeMetricFamily("fairlead_ready", "1 when all objects have been read and translated once", int(ready))
        yield GaugeMetricFamily(
            "fairlead_event_loop_lag_seconds",
            "How long something had to wait for its turn in the event loop, a moment ago",
            self._watchdog.lag,
        )
        yield CounterMetricFamily(
            "fairlead_event_loop_stalls", "How often the event loop was stuck for seconds", self._watchdog.stalls
        )

    def _counter(self, name: str, text: str, values: Mapping[str, float] | float, label: str = "") -> Metric:
        """A counter whose name is Istio's, without the suffix that Prometheus recommends."""
        self._istio_counters.add(name)
        family = Metric(name, text, "counter")
        for value, number in ({"": values} if isinstance(values, float | int) else values).items():
            family.add_sample(name, {label: value} if label else {}, number)
        return family


def _by_type(values: Mapping[str, float]) -> dict[str, float]:
    return {SHORT_NAMES[type_url]: value for type_url, value in values.items()}


def _counter(name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
    family = CounterMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _gauge(name: str, text: str, values: Mapping[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, buckets=_buckets(histogram), sum_value=histogram.total)


def _histograms(name: str, text: str, histograms: Mapping[str, Histogram]) -> Metric:
    family = HistogramMetricFamily(name, text, labels=["type"])
    for type_url, histogram in histograms.items():
        family.add_metric([SHORT_NAMES[type_url]], buckets=_buckets(histogram), sum_value=histogram.total)
    return family


def _buckets(histogram: Histogram) -> list[tuple[str, float]]:
    below, found = 0, []
    for bound, number in zip((*map(str, map(float, histogram.bounds)), "+Inf"), histogram.counts, strict=True):
        below += number
        found.append((bound, float(below)))
    return found


def _end(secret: Resource) -> float | None:
    """When the first certificate of a Secret expires; None when it is in a file of the proxy, and so not known."""
    content = readable(secret)
    if "tls_certificate" in content:
        source = content["tls_certificate"]["certificate_chain"]
    else:
        source = content["validation_context"]["trusted_ca"]
    return end_of(base64.b64decode(source["inline_bytes"])).timestamp() if "inline_bytes" in source else None
