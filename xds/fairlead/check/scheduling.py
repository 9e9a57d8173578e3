"""Whether there are the services that scheduling policies are about, and workloads of these."""

from collections.abc import Iterator

from fairlead.check.services import is_known
from fairlead.derive import Input
from fairlead.models.asm.scheduling import KINDS, Body, ControlPoint, SchedulingObject, body, selectors
from fairlead.models.core import Service
from fairlead.models.istio.service_entry import ServiceEntry
from fairlead.problems import FieldPath, Problem, warning
from fairlead.resolve import services
from fairlead.validation.asm.scheduling import ANY_SERVICE
from fairlead.world import ObjectName, World


def problems(world: World) -> Iterator[Problem]:
    """Policies about services that nobody knows, or at sidecars where there are none."""
    for kind in KINDS:
        objects: Input[ObjectName, SchedulingObject] = world.objects(kind)
        for name in objects.keys():  # noqa: SIM118  # no dict
            obj = objects.get(name)
            if obj is None:
                continue
            found = body(obj)
            path: FieldPath = ("spec", obj.spec.__struct_encode_fields__[0], *_where(found))
            for index, selector in enumerate(selectors(found)):
                host = selector.service.lower()
                service = services.service_of(host)
                viewer = name.namespace if service is None else service.namespace
                where = (*path, index, "service")
                if host == ANY_SERVICE:
                    continue
                if not is_known(world, viewer, host):
                    yield warning(
                        "unknown-host",
                        f"no service {host} is known, so that the policy applies to nothing",
                        key=obj.key,
                        path=where,
                        hint=_likely(world, viewer, host)
                        or "add a Service or ServiceEntry of that name, or correct the name",
                    )
                elif selector.control_point is ControlPoint.INGRESS and not _has_workloads(world, host):
                    yield warning(
                        "no-matching-proxy",
                        f"{host} selects no Pods, so that no sidecar is there at which requests could wait",
                        key=obj.key,
                        path=where,
                        hint="write control_point: egress, to let them wait at gateways and other callers",
                    )


def _where(found: Body) -> FieldPath:
    return ("selectors",) if found.selectors else ("scheduler", "selectors")


def _likely(world: World, viewer: str, host: str) -> str:
    """What to do about the host of a service that is not written in full."""
    whole = (f"{host}{rest}" for rest in (".cluster.local", ".svc.cluster.local"))
    return next((f"write {name}" for name in whole if is_known(world, viewer, name)), "")


def _has_workloads(world: World, host: str) -> bool:
    """Whether some object of the host says which workloads serve it."""
    name = services.service_of(host)
    service = None if name is None else world.objects(Service).get(name)
    if service is not None and service.spec.selector:
        return True
    entries = (world.objects(ServiceEntry).get(each) for each in services.entries_by_host(world).get(host) or ())
    return any(entry is not None and entry.spec.workload_selector is not None for entry in entries)
