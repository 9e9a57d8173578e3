"""What is wrong with Sidecars, whatever the proxy."""

from collections.abc import Iterator

from fairlead.derive import Input, derived_map
from fairlead.models.istio.sidecar import CaptureMode, Sidecar
from fairlead.problems import Problem, Related, warning
from fairlead.resolve import mesh
from fairlead.resolve.sidecar.scopes import labels_of, ranked
from fairlead.world import ObjectName, World


def _sidecars(world: World) -> Input[ObjectName, Sidecar]:
    return world.objects(Sidecar)


@derived_map(_sidecars)
def reviews(world: World, name: ObjectName) -> tuple[Problem, ...] | None:
    """What keeps each Sidecar from having its effect."""
    found = _sidecars(world).get(name)
    if found is None:
        return None
    return (*_of_others(world, found), *_of_listeners(found)) or None


def _of_others(world: World, sidecar: Sidecar) -> Iterator[Problem]:
    labels, namespace = labels_of(sidecar), sidecar.metadata.namespace
    if labels and namespace == mesh.root_namespace(world):
        message = f"only workloads in namespace {namespace} are selected, since a workloadSelector looks nowhere else"
        hint = "leave workloadSelector out to set the default for all namespaces"
        yield warning("no-effect", message, key=sidecar.key, path=("spec", "workloadSelector"), hint=hint)
    first = next(item for item in ranked(world, namespace) if labels_of(item) == labels)
    if first.key != sidecar.key:
        message = f"the Sidecar has no effect, since {first.key} for the same workloads comes first"
        hint = "write both into one, or give them other selectors"
        related = (Related("this one holds", first.key),)
        yield warning("rule-without-effect", message, key=sidecar.key, path=("spec",), hint=hint, related=related)


def _of_listeners(sidecar: Sidecar) -> Iterator[Problem]:
    modes = {("egress", index): listener.capture_mode for index, listener in enumerate(sidecar.spec.egress)}
    modes |= {("ingress", index): listener.capture_mode for index, listener in enumerate(sidecar.spec.ingress)}
    for place, mode in modes.items():
        if mode is CaptureMode.IPTABLES:
            message = "nothing is captured: the listener is there for those who connect to it"
            path = ("spec", *place, "captureMode")
            yield warning("unsupported-value", message, key=sidecar.key, path=path, hint="write NONE")
