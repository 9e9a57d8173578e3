"""Services that proxies call while they serve requests; they have a process, an address and an event loop of their own.

Decided without I/O, and with the time as an argument:

- `limits`: which requests are counted together, and what is answered when there are too many.
- `counters`: how many there were in a window of time; here in memory, `redis_counters` for several processes.
- `outcomes`: what has become of requests, by the object that decided it.
- `scheduling`: which requests wait, and in which order they go.

Around that:

- `rate_limit_service`, `access_log_service`, `health_service`: Envoy's and gRPC's calls, bytes in, bytes out.
- `services`: all of them on one port.
- `process`: what the child process of a server does, and `messages`: what the two tell each other.
- `supervisor`: the parent's side: it starts the process when somebody needs it, and again when it has died.
"""
