"""The state-of-the-world variant, scenario by scenario. Lines without an arrow assert silence."""

import pytest
from fairlead.snapshot.table import Variant
from support.xds_script import Script

SCENARIOS = {
    "wildcard: all, once, then silence": """
        have cds A=1 B=1 C=1
        ask cds                     -> cds A=1 B=1 C=1
        ack cds
        have cds A=1
        have cds A=2                -> cds A=2 B=1 C=1
        ack cds
        have cds D=1                -> cds A=2 B=1 C=1 D=1
        ack cds
        have cds B=-                -> cds A=2 C=1 D=1
        ack cds
        have cds A=- C=- D=-        -> cds (empty)
        ack cds
    """,
    "an empty first answer ends the wait of a wildcard client": """
        ask cds                     -> cds (empty)
        ask lds                     -> lds (empty)
        ack cds
        ack lds
        have lds L=1                -> lds L=1
    """,
    "of other types, no names are none": """
        have eds A=1; rds R=1; sds S=1
        ask eds
        ask rds
        ask sds
        have eds A=2
        ask eds A                   -> eds A=2
    """,
    "a type that only the other variant has is met with silence": """
        have vhds R/a=1
        ask vhds
        ask vhds R/a
    """,
    "an unknown type is met with silence and harms nothing": """
        have cds A=1
        ask type.googleapis.com/unknown X
        ask type.googleapis.com/unknown
        ask cds                     -> cds A=1
    """,
    "by name, full state: all that is subscribed to, on each change of it": """
        have lds G=1 B=1 L=1 D=1
        ask lds L G                 -> lds G=1 L=1
        ack lds
        have lds G=2                -> lds G=2 L=1
        ack lds
        have lds B=2
        have lds B=-
        have lds L=-                -> lds G=2 !L
        ack lds
    """,
    "by name, other types: what has changed": """
        have rds A=1 B=1 C=1 D=1
        ask rds B D                 -> rds B=1 D=1
        ack rds
        have rds B=2                -> rds B=2
        ack rds
        have rds A=2
        have rds B=3 D=2 C=2        -> rds B=3 D=2
        ack rds
    """,
    "an unknown name is told, once, and sent when it comes into being": """
        have rds A=1; cds A=1; sds A=1; eds A=1
        ask cds A Z                 -> cds A=1 !Z
        ack cds
        have cds Z=1                -> cds A=1 Z=1
        ack cds
        ask rds A Z                 -> rds A=1 Z=empty
        ack rds
        have rds Z=1                -> rds Z=1
        ack rds
        ask eds A Z                 -> eds A=1 Z=empty
        ack eds
        have eds Z=1                -> eds Z=1
        ack eds
        ask sds A Z                 -> sds A=1 !Z
        ack sds
        have sds Z=1                -> sds Z=1
        ack sds
    """,
    "unknown names only": """
        ask sds Z                   -> sds !Z
        ack sds
        ask cds Z                   -> cds !Z
        ack cds
        ask eds Z                   -> eds Z=empty
        ack eds
        have sds Z=1                -> sds Z=1
    """,
    "a name that is added is sent, although no version has changed": """
        have eds A=1 B=1; lds A=1 B=1
        ask eds A                   -> eds A=1
        ack eds
        ask eds A B                 -> eds B=1
        ack eds
        have eds B=2                -> eds B=2
        ack eds
        ask lds A                   -> lds A=1
        ack lds
        ask lds A B                 -> lds A=1 B=1
        ack lds
    """,
    "each change of the list brings what is new": """
        have rds A=1 B=1
        ask rds A                   -> rds A=1
        ack rds
        ask rds B                   -> rds B=1
        ack rds
        ask rds A B                 -> rds A=1
        ack rds
        ask rds A
    """,
    "unsubscribed names are silent": """
        have cds A=1 B=1 C=1
        ask cds C A B               -> cds A=1 B=1 C=1
        ack cds
        ask cds A
        have cds B=2
        have cds A=2                -> cds A=2
        ack cds
        have cds C=-
    """,
    "names, then none: unsubscribed from all, not a wildcard": """
        have cds A=1 B=1; rds R=1
        ask cds A                   -> cds A=1
        ack cds
        ask cds
        have cds A=2 B=2
        ask rds R                   -> rds R=1
        ack rds
        ask rds
        have rds R=2
    """,
    "wildcard by name": """
        have cds A=1 B=1
        ask cds *                   -> cds A=1 B=1
        ack cds
        have cds B=2                -> cds A=1 B=2
        ack cds
        ask cds
        have cds A=2
    """,
    "wildcard, and a name, and the name only, and nothing": """
        have cds A=1 B=1
        ask cds                     -> cds A=1 B=1
        ack cds
        ask cds * A
        ask cds A
        have cds B=2
        have cds A=2                -> cds A=2
        ack cds
        ask cds
        have cds A=3
        ask cds *                   -> cds A=3 B=2
    """,
    "a name beside the wildcard that does not exist": """
        have cds A=1
        ask cds *                   -> cds A=1
        ack cds
        ask cds * Z                 -> cds A=1 !Z
        ack cds
        have cds Z=1                -> cds A=1 Z=1
        ack cds
    """,
    "names beside the wildcard that come and go": """
        have cds A=1
        ask cds                     -> cds A=1
        ack cds * Z                 -> cds A=1 !Z
        have cds B=1
        ack cds * Y                 -> cds A=1 B=1 !Y
        nack cds * Y X              -> cds A=1 B=1 !X
        ask cds *
    """,
    "explicit wildcard of a type that has no implicit one": """
        have eds A=1 B=1
        ask eds *                   -> eds A=1 B=1
        ack eds
        have eds B=2                -> eds B=2
        ack eds
        have eds B=-
        have eds C=1                -> eds C=1
    """,
    "the empty name is neither a wildcard nor a resource": """
        have cds A=1; eds A=1
        ask cds ""
        ask eds ""
        have cds A=2; eds A=2
        ask cds A                   -> cds A=2
        ack cds
        ask cds ""
        have cds A=3
    """,
    "a name twice counts once": """
        have cds A=1; eds A=1
        ask cds A A                 -> cds A=1
        ask eds A A                 -> eds A=1
    """,
    "acknowledgements, many times": """
        have cds A=1
        ask cds                     -> cds A=1
        ack cds
        ack cds
        ack cds
    """,
    "refused: silence until the content changes": """
        have cds A=1
        ask cds                     -> cds A=1
        nack cds
        nack cds
        have cds A=2                -> cds A=2
        nack cds
        have cds A=1                -> cds A=1
        ack cds
    """,
    "refused, and changed back before anything was sent": """
        have rds R=1; eds A=1
        ask rds R                   -> rds R=1
        ack rds
        have rds R=2                -> rds R=2
        nack rds
        have eds B=1
        have rds R=1
    """,
    "a refusal takes over names": """
        have cds A=1 B=1; eds A=1 B=1
        ask cds A                   -> cds A=1
        nack cds A B                -> cds A=1 B=1
        nack cds A B
        ask eds A                   -> eds A=1
        nack eds A B                -> eds B=1 A=empty
        ack eds
    """,
    "a refusal of one type leaves the others alone": """
        have cds A=1; lds L=1
        ask cds                     -> cds A=1
        nack cds
        ask lds                     -> lds L=1
        ack lds
        have lds L=2; cds A=2       -> cds A=2 | lds L=2
    """,
    "a stale request changes nothing": """
        have eds A=1 B=1
        ask eds A                   -> eds A=1
        stale eds A B
        nonceless eds B
        have eds B=2
        ack eds
        have eds A=2                -> eds A=2
    """,
    "two requests before the first answer": """
        have eds A=1 B=1
        ask eds A                   -> eds A=1
        ack eds A B                 -> eds B=1
        ack eds
        ask rds
        ask rds A                   -> rds A=empty
    """,
    "a new stream: the nonce and version of the old one mean nothing": """
        have cds A=1; eds A=1
        connect
        stale cds                   -> cds A=1
        stale eds A                 -> eds A=1
        ack cds
        ack eds A
    """,
    "asked again: endpoints, routes and secrets are sent once more, full states are not": """
        have cds A=1; eds A=1; lds L=1; rds R=1; sds S=1
        ask cds                     -> cds A=1
        ask eds A                   -> eds A=1
        ask lds                     -> lds L=1
        ask rds R                   -> rds R=1
        ask sds S                   -> sds S=1
        ack cds
        ack eds
        ack lds
        ack rds
        ack sds
        ask cds
        ask lds
        ask eds A                   -> eds A=1
        ask rds R                   -> rds R=1
        ask sds S                   -> sds S=1
        ack eds
        ack rds
        ack sds
    """,
    "newest state wins: one response under way, none queued": """
        have cds A=1
        ask cds                     -> cds A=1
        have cds A=2
        have cds A=3 B=1
        have cds B=2
        ack cds                     -> cds A=3 B=2
        ack cds
    """,
    "there and back again while a response is under way": """
        have cds A=1
        ask cds                     -> cds A=1
        have cds A=2
        have cds B=1
        have cds A=1 B=-
        ack cds
    """,
    "names that were dropped before they were sent": """
        have eds A=1 B=1 C=1
        ask eds A                   -> eds A=1
        have eds A=2
        ack eds B                   -> eds B=1
        ack eds
    """,
    "a resource that vanishes: full state without it, empty endpoints, empty routes, an error for a secret": """
        have lds L=1; eds A=1; rds R=1; sds S=1
        ask lds                     -> lds L=1
        ask eds A                   -> eds A=1
        ask rds R                   -> rds R=1
        ask sds S                   -> sds S=1
        ack eds
        ack rds
        ack sds
        ack lds
        have eds A=-                -> eds A=empty
        ack eds
        have rds R=-                -> rds R=empty
        ack rds
        have sds S=-                -> sds !S
        ack sds
        have lds L=-                -> lds (empty)
        ack lds
        have sds S=1                -> sds S=1
    """,
    "another group: what differs": """
        have cds A=1 B=1; rds R=1; eds A=1
        ask cds                     -> cds A=1 B=1
        ask rds R                   -> rds R=1
        ask eds A                   -> eds A=1
        ack cds
        ack rds
        ack eds
        move cds A=1 B=1; rds R=2; eds A=1      -> rds R=2
        ack rds
        move cds A=2 B=1; rds R=2; eds A=1      -> cds A=2 B=1 | eds A=1
        ack cds
        ack eds
        move cds A=2; rds R=2; eds A=1 C=1      -> cds A=2
        ack cds
    """,
}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_scenario(scenario: str) -> None:
    Script(Variant.STATE_OF_THE_WORLD).run(scenario)
