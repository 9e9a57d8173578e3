"""From objects in all dialects to intent: what one kind of proxy shall do. Dialects end here.

`scope` says which objects apply to a proxy; `dialect` is what a dialect must answer; `listeners`, `virtual_hosts`,
`clusters` and `credentials` ask all dialects and join their answers.
"""
