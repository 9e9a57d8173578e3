"""Whether there are the services that scheduling policies are about."""

from collections.abc import Iterator

from fairlead.check.services import is_known
from fairlead.derive import Input
from fairlead.models.asm.scheduling import KINDS, Body, SchedulingObject, body, selectors
from fairlead.problems import FieldPath, Problem, warning
from fairlead.resolve import services
from fairlead.validation.asm.scheduling import ANY_SERVICE
from fairlead.world import ObjectName, World


def problems(world: World) -> Iterator[Problem]:
    """Policies about services that nobody knows."""
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
                if host != ANY_SERVICE and not is_known(world, viewer, host):
                    yield warning(
                        "unknown-host",
                        f"no service {host} is known, so that the policy applies to nothing",
                        key=obj.key,
                        path=(*path, index, "service"),
                        hint="add a Service or ServiceEntry of that name, or correct the name",
                    )


def _where(found: Body) -> FieldPath:
    return ("selectors",) if found.selectors else ("scheduler", "selectors")
