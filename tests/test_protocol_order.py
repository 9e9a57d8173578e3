"""Order among types: make before break. Lines without an arrow assert silence."""

import pytest
from fairlead.snapshot.table import Variant
from support.xds_script import Script

STATE_OF_THE_WORLD = {
    "types go out in order, whatever order they were asked for in": """
        have cds A=1; eds A=1; sds S=1; lds L=1; rds R=1
        ask rds R                   -> rds R=1
        ask lds                     -> lds L=1
        ask sds S                   -> sds S=1
        ask eds A                   -> eds A=1
        ask cds                     -> cds A=1
        ack rds
        ack lds
        ack sds
        ack cds
        ack eds                     -> eds A=1
        ack eds
        have rds R=2; lds L=2; sds S=2; eds A=2; cds A=2 -> cds A=2 | eds A=2 | sds S=2 | lds L=2 | rds R=2
    """,
    "endpoints follow a changed cluster, unchanged, without its acknowledgement": """
        have cds A=1 B=1 C=1; eds A=1 B=1
        ask cds                     -> cds A=1 B=1 C=1
        ack cds
        ask eds A B                 -> eds A=1 B=1
        ack eds
        have cds A=2 C=2            -> cds A=2 B=1 C=2 | eds A=1
        stale eds A B
        ack eds
        ack cds
        have cds A=3                -> cds A=3 B=1 C=2 | eds A=1
        nack cds
        ack eds
    """,
    "a client that asks for endpoints again when a cluster warms": """
        have cds A=1; eds A=1
        ask cds                     -> cds A=1
        ack cds
        ask eds A                   -> eds A=1
        have cds A=2                -> cds A=2
        ack eds                     -> eds A=1
        ack eds
        ask eds A                   -> eds A=1
        ack eds
        ack cds
    """,
    "endpoints of new clusters follow unasked, of a client that wants endpoints at all": """
        have cds A=1; eds A=1 B=1
        ask cds                     -> cds A=1
        ack cds
        ask eds
        have cds A=1 B=1            -> cds A=1 B=1
        ack cds
        ask eds A                   -> eds A=1
        have cds C=1; eds C=1       -> cds A=1 B=1 C=1
        ack cds
        ack eds                     -> eds C=1
        ack eds
        have eds B=2 C=2
        have cds D=1                -> cds A=1 B=1 C=1 D=1
    """,
    "endpoints that do not exist follow as well": """
        have cds A=1
        ask cds                     -> cds A=1
        ask eds A                   -> eds A=empty
        ack eds
        ack cds
        have cds A=2                -> cds A=2 | eds A=empty
    """,
    "after a reconnect, endpoints first: sent again when the clusters have come": """
        have cds A=1; eds A=1
        ask eds A                   -> eds A=1
        ask cds                     -> cds A=1
        ack eds                     -> eds A=1
        ack eds
        ack cds
    """,
    "a cluster stays until the route that left it is acknowledged": """
        have cds A=1; eds A=1; lds L=1; rds R=A
        ask cds                     -> cds A=1
        ask eds A                   -> eds A=1
        ask lds                     -> lds L=1
        ask rds R                   -> rds R=A
        ack cds
        ack eds
        ack lds
        ack rds
        have cds A=- B=1; eds A=- B=1; rds R=B -> cds B=1 A=1 | eds B=1 | rds R=B
        stale eds A B
        ack eds A B                 -> eds B=1
        ack eds
        ack cds
        have cds C=1                -> cds B=1 C=1 A=1
        ack cds
        ack rds                     -> cds B=1 C=1
        ask eds B
        ack cds
    """,
    "a filter stays until the listener that left it is acknowledged": """
        have lds L=1; ecds F=1
        ask lds                     -> lds L=1
        ask ecds F                  -> ecds F=1
        ack lds
        ack ecds
        have lds L=2; ecds F=-      -> lds L=2
        ack lds                     -> ecds F=empty
        nack ecds
    """,
    "filters and runtime settings that do not exist are told to be none, and come when they do": """
        ask rtds X                  -> rtds X=empty
        ask ecds F                  -> ecds F=empty
        nack ecds
        ack rtds
        have rtds X=1; ecds F=1     -> ecds F=1 | rtds X=1
    """,
    "a route whose removal cannot be told holds up nothing": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds *                   -> rds R=A
        ack cds
        ack rds
        have cds A=-; rds R=-       -> cds (empty)
    """,
    "or for fifteen seconds": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds R                   -> rds R=A
        ack cds
        ack rds
        have cds A=- B=1; rds R=B   -> cds B=1 A=1 | rds R=B
        ack cds
        nack rds
        wait 14
        have cds B=-
        wait 1
        wait 14                     -> cds A=1
        ack cds
        have rds R=C                -> rds R=C
        ack rds                     -> cds (empty)
    """,
    "a cluster that comes back in time": """
        have cds A=1; rds R=A; eds A=1
        ask cds                     -> cds A=1
        ask rds R                   -> rds R=A
        ask eds A                   -> eds A=1
        ack cds
        ack rds
        ack eds
        have cds A=-; rds R=B       -> rds R=B
        have cds A=1
        have cds A=-
        have cds A=2                -> cds A=2 | eds A=1
        ack eds
        ack cds
        ack rds
        wait 20
    """,
    "secrets stay until the listener that used them is acknowledged": """
        have sds S=1 T=1; lds L=ST
        ask lds                     -> lds L=ST
        ask sds S T                 -> sds S=1 T=1
        ack lds
        ack sds
        have sds S=- T=-; lds L=U   -> lds L=U
        ask sds S
        ack sds S                   -> sds S=1
        ack sds
        ack lds                     -> sds !S
    """,
}

DELTA = {
    "endpoints of a changed cluster are sent to a client that comes back with them": """
        have cds A=2 B=1; eds A=1 B=1
        ask cds A:1 B:1             -> cds A=2
        ask eds +A +B A:1 B:1       -> eds A=1
        ack eds
        ack cds
        connect
        ask cds A:2 B:1             -> cds (empty)
        ask eds +A +B A:1 B:1
    """,
    "types go out in order, whatever order they were asked for in": """
        have cds A=1; eds A=1; sds S=1; lds L=1; rds R=1; vhds R/a=1
        ask vhds                    -> vhds R/a=1
        ask rds +R                  -> rds R=1
        ask lds                     -> lds L=1
        ask sds +S                  -> sds S=1
        ask eds +A                  -> eds A=1
        ask cds                     -> cds A=1
        ack vhds                    -> vhds R/a=1
        ack vhds
        ack rds
        ack lds
        ack sds
        ack cds
        ack eds                     -> eds A=1
        ack eds
        have vhds R/a=2; rds R=2; lds L=2; eds A=2; cds A=2 -> cds A=2 | eds A=2 | lds L=2 | rds R=2 | vhds R/a=2
    """,
    "endpoints follow a changed cluster, unasked, without its acknowledgement": """
        have cds A=1 B=1 C=1; eds A=1 B=1
        ask cds                     -> cds A=1 B=1 C=1
        ack cds
        ask eds +A +B               -> eds A=1 B=1
        ack eds
        have cds A=2 C=2            -> cds A=2 C=2 | eds A=1
        have cds B=2
        ack eds
        ack cds                     -> cds B=2 | eds B=1
        ack eds
        ack cds
    """,
    "a refused cluster does not come again, and its endpoints come once": """
        have cds A=1; eds A=1
        ask cds                     -> cds A=1
        ack cds
        ask eds +A                  -> eds A=1
        ack eds
        have cds A=2                -> cds A=2 | eds A=1
        nack cds
        nack eds
    """,
    "after a reconnect, endpoints first: sent again for clusters that have changed": """
        have cds A=2 B=1; eds A=1 B=1
        ask eds +A +B               -> eds A=1 B=1
        ack eds
        ask cds A:1 B:1             -> cds A=2 | eds A=1
        ack eds
        ack cds
    """,
    "a filter stays until the listener that left it is acknowledged": """
        have lds L=1; ecds F=1
        ask lds                     -> lds L=1
        ask ecds +F                 -> ecds F=1
        ack lds
        ack ecds
        have lds L=2; ecds F=-      -> lds L=2
        ack lds                     -> ecds F=empty
        nack ecds
        ask ecds -F
    """,
    "filters and runtime settings that do not exist are told to be none, and come when they do": """
        ask rtds +X                 -> rtds X=empty
        ask ecds +F                 -> ecds F=empty
        nack ecds
        ack rtds
        have rtds X=1; ecds F=1     -> ecds F=1 | rtds X=1
    """,
    "a cluster stays until the route that left it is acknowledged, its endpoints until it is gone": """
        have cds A=1; eds A=1; lds L=1; rds R=A
        ask cds                     -> cds A=1
        ask eds +A                  -> eds A=1
        ask lds                     -> lds L=1
        ask rds +R                  -> rds R=A
        ack cds
        ack eds
        ack lds
        ack rds
        have cds A=- B=1; eds A=- B=1; rds R=B -> cds B=1 | eds B=1 | rds R=B
        nonceless eds +B
        ack eds                     -> eds B=1
        ack eds
        ack cds
        ack rds                     -> cds -A
        nonceless eds -A
        ack cds
        wait 30
    """,
    "a virtual host, too": """
        have cds A=1; rds R=1; vhds R/a=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=1
        ask vhds                    -> vhds R/a=A
        ack cds
        ack rds
        ack vhds
        have cds A=-; vhds R/a=- R/b=B  -> vhds R/b=B -R/a
        ack vhds                    -> cds -A
    """,
    "routes stay until the listener that used them is gone": """
        have cds A=1; lds L=R; rds R=A
        ask cds                     -> cds A=1
        ask lds                     -> lds L=R
        ask rds +R                  -> rds R=A
        ack cds
        ack lds
        ack rds
        have cds A=-; lds L=-; rds R=- -> lds -L
        nonceless rds -R
        ack lds                     -> cds -A
        ack cds
    """,
    "routes that a client goes on to want are empty after that": """
        have cds A=1; lds L=R; rds R=A
        ask cds                     -> cds A=1
        ask lds                     -> lds L=R
        ask rds +R                  -> rds R=A
        ack cds
        ack lds
        ack rds
        have cds A=-; lds L=-; rds R=- -> lds -L
        ack lds                     -> rds R=empty
        ack rds                     -> cds -A
    """,
    "a new listener's routes are waited for": """
        have cds A=1; lds L=R; rds R=A
        ask cds                     -> cds A=1
        ask lds                     -> lds L=R
        ask rds +R                  -> rds R=A
        ack cds
        ack lds
        ack rds
        have cds A=- B=1; lds L=Q; rds R=- Q=B -> cds B=1 | lds L=Q
        ack cds
        nonceless rds +Q            -> rds Q=B
        ack lds
        nonceless rds -R
        ack rds                     -> cds -A
    """,
    "or for fifteen seconds": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=A
        ack cds
        ack rds
        have cds A=-; rds R=B       -> rds R=B
        wait 14
        wait 1                      -> cds -A
    """,
    "a refused route holds what the accepted one refers to": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=A
        ack cds
        ack rds
        have cds A=-; rds R=B       -> rds R=B
        nack rds
        wait 1000
        have rds R=C                -> rds R=C
        ack rds                     -> cds -A
    """,
    "a removal that nothing can refer to is sent at once": """
        have cds A=1 B=1
        ask cds                     -> cds A=1 B=1
        ack cds
        have cds A=-                -> cds -A
    """,
    "a cluster that comes back in time": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=A
        ack cds
        ack rds
        have cds A=-; rds R=B       -> rds R=B
        have cds A=1
        have cds A=-
        have cds A=2                -> cds A=2
        ack cds
        ack rds
        wait 20
    """,
    "a client that moves to another group keeps what its routes use": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=A
        ack cds
        ack rds
        move cds B=1; rds R=B       -> cds B=1 | rds R=B
        ack cds
        move cds C=1; rds R=C       -> cds C=1
        ack cds
        ack rds                     -> rds R=C
        ack rds                     -> cds -A -B
    """,
    "a kept resource that is asked for again is still there": """
        have cds A=1; rds R=A
        ask cds                     -> cds A=1
        ask rds +R                  -> rds R=A
        ack cds
        ack rds
        have cds A=-; rds R=B       -> rds R=B
        ask cds +A                  -> cds A=1
        ack cds
        ack rds                     -> cds -A !A
    """,
    "a kept resource that is unsubscribed from is forgotten": """
        have sds S=1; lds L=S
        ask lds                     -> lds L=S
        ask sds +S                  -> sds S=1
        ack lds
        ack sds
        have sds S=-; lds L=T       -> lds L=T
        nonceless sds -S
        ack lds
    """,
}


@pytest.mark.parametrize("scenario", STATE_OF_THE_WORLD.values(), ids=STATE_OF_THE_WORLD.keys())
def test_state_of_the_world(scenario: str) -> None:
    Script(Variant.STATE_OF_THE_WORLD).run(scenario)


@pytest.mark.parametrize("scenario", DELTA.values(), ids=DELTA.keys())
def test_delta(scenario: str) -> None:
    Script(Variant.DELTA).run(scenario)
