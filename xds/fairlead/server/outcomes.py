"""What has become of requests, as the runtime services tell it: numbers since the start of the server."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from fairlead.runtime.outcomes import Object, Outcome
from fairlead.world import ObjectName, World


class RequestCounts(Collector):
    """Numbers of requests by object and outcome, as metrics.

    Objects that do not exist have none: whoever can reach the services can tell them anything.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._counts: Counter[tuple[Object, Outcome]] = Counter()

    def add(self, happened: Iterable[tuple[Object, Outcome, int]]) -> None:
        """So many requests more."""
        for of, outcome, number in happened:
            if self._exists(of):
                self._counts[of, outcome] += number

    def collect(self) -> Iterator[Metric]:
        """As `prometheus_client` asks for them."""
        self._counts = Counter({key: number for key, number in self._counts.items() if self._exists(key[0])})
        family = CounterMetricFamily(
            "fairlead_requests",
            "Requests, by the object that has decided about them and what it did",
            labels=["kind", "namespace", "name", "outcome"],
        )
        for (of, outcome), number in sorted(self._counts.items()):
            family.add_metric([*_parts(of), outcome.value], number)
        yield family

    def _exists(self, of: Object) -> bool:
        kind, namespace, name = _parts(of)
        return self._world.has(kind, ObjectName(namespace, name))


class StartCounts(Collector):
    """How often the runtime services have been started, as a metric."""

    def __init__(self, starts: Callable[[], int]) -> None:
        self._starts = starts

    def collect(self) -> Iterator[Metric]:
        """As `prometheus_client` asks for it."""
        yield CounterMetricFamily(
            "fairlead_runtime_starts", "How often the process of the runtime services was started", self._starts()
        )


def _parts(of: Object) -> tuple[str, str, str]:
    kind, _, rest = of.partition(" ")
    namespace, _, name = rest.rpartition("/")
    return kind, namespace, name
