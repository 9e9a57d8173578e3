"""Kinds of ASM that say what becomes of requests beside their routes: limits, breakers.

`rules` has what these kinds have in common, `kinds` lists them; each has a module of its own that says what its
objects mean. `routes` and `connections` tell the rest of `resolve` what they make of virtual hosts and listeners,
`effect` which of them are in vain.
"""
