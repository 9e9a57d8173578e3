"""The proxies that offline commands are about."""

from fairlead.cli.bootstrap import parse_labels
from fairlead.cli.output import fail
from fairlead.errors import SettingsError
from fairlead.resolve.scope import Proxy, Role
from fairlead.resolve.selection import everybody_implied
from fairlead.resolve.sidecar.selection import imagined
from fairlead.world import World

_SIDECAR = "sidecar:"


def chosen(world: World, proxy: str, namespace: str, labels: str) -> tuple[Proxy, ...]:
    """The proxy of `--proxy`, as `name_of` writes it, or of `--namespace` and `--labels`; else those that are implied.

    Gateways imply proxies, and Sidecars do.
    """
    is_sidecar = proxy.startswith(_SIDECAR)
    if proxy:
        namespace, _, labels = proxy.removeprefix(_SIDECAR).partition("/")
    try:
        asked = parse_labels(labels)
    except SettingsError as error:
        fail(str(error))
    if is_sidecar:
        return (imagined(namespace, frozenset(asked)),)
    return (Proxy(namespace=namespace, labels=frozenset(asked)),) if asked else everybody_implied(world)


def name_of(proxy: Proxy) -> str:
    """As `--proxy` takes it: `NAMESPACE/k=v,...`, of a sidecar `sidecar:NAMESPACE/k=v,...`."""
    role = _SIDECAR if proxy.role is Role.SIDECAR else ""
    return f"{role}{proxy.namespace}/{','.join(f'{key}={value}' for key, value in sorted(proxy.labels))}"
