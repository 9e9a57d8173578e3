"""The proxies that offline commands are about."""

from fairlead.cli.bootstrap import parse_labels
from fairlead.cli.output import fail
from fairlead.errors import SettingsError
from fairlead.resolve.scope import Proxy
from fairlead.resolve.selection import proxies_implied
from fairlead.world import World


def chosen(world: World, proxy: str, namespace: str, labels: str) -> tuple[Proxy, ...]:
    """The proxy of `--proxy NAMESPACE/k=v,...`, or of `--namespace` and `--labels`; else those that Gateways imply."""
    if proxy:
        namespace, _, labels = proxy.partition("/")
    try:
        asked = parse_labels(labels)
    except SettingsError as error:
        fail(str(error))
    return (Proxy(namespace=namespace, labels=frozenset(asked)),) if asked else proxies_implied(world)


def name_of(proxy: Proxy) -> str:
    """As `--proxy` takes it."""
    return f"{proxy.namespace}/{','.join(f'{key}={value}' for key, value in sorted(proxy.labels))}"
