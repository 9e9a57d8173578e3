"""Where a request ends, in a sentence."""

from fairlead.simulation.values import Verdict


def outcome(verdict: Verdict) -> str:
    """Such as `goes to a.default.svc.cluster.local:80`, or `is refused: nothing listens on port 81`."""
    if verdict.refused:
        return f"is refused: {verdict.failure}"
    if verdict.failure:
        return f"fails{f' with {verdict.status}' if verdict.status else ''}: {verdict.failure}"
    if verdict.location:
        return f"is redirected with {verdict.status} to {verdict.location}"
    if verdict.status is not None:
        return f"is answered by the proxy with {verdict.status}"
    return f"goes to {_listed(verdict)}"


def _listed(verdict: Verdict) -> str:
    found = {
        f"whatever DNS says of {verdict.host}" if name in verdict.by_name else backend(name): share
        for name, share in verdict.clusters.items()
    }
    if len(found) == 1:
        return next(iter(found))
    return ", ".join(f"{name} ({100 * share:.4g} %)" for name, share in found.items())


def backend(cluster: str) -> str:
    """`host:port subset v1` for a cluster that is named as Istio names it, or the sidecar's own application."""
    parts = cluster.split("|")
    if len(parts) != 4:
        return cluster
    _, port, subset, host = parts
    if not host:
        return f"the application behind port {port}"
    return f"{host}:{port}" + (f" subset {subset}" if subset else "")
