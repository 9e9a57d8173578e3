"""Where does this request go? An answer from the resources alone, as Envoy's documentation says that it decides.

This is the judge of what `resolve` and `render` make, so it shares no code with them: it reads encoded Envoy messages,
and knows nothing of the objects that they came from. Sources of its rules:

- filter chains: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto
- virtual hosts and routes: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/route/v3/route_components.proto
"""

from fairlead.simulation.values import Fact, Request, Stage, Step, Verdict
from fairlead.simulation.walk import Simulation

__all__ = ["Fact", "Request", "Simulation", "Stage", "Step", "Verdict"]
