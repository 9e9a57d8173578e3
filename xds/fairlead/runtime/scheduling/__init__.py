"""The scheduler: which requests wait before they reach a service, and in which order they go.

What is in here does no I/O of its own and is given its time, save `service` and `redis_tokens`.
"""
