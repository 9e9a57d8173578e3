"""A gRPC client that finds its servers by xDS, as a child process: it reads `GRPC_XDS_BOOTSTRAP_CONFIG` when it starts.

On each line of its input it is told what to do, and answers in a line of JSON:

    call TARGET SECONDS     one call, ready or not; answers with code, words, time and what came back
    close TARGET            end the channel
"""

import json
import sys
import time

import grpc

METHOD = "/test.Echo/Echo"


def say(answer: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def main() -> None:
    channels: dict[str, grpc.Channel] = {}
    for line in sys.stdin:
        verb, target, *more = line.split()
        if verb == "close":
            channels.pop(target).close()
            say({})
            continue
        channel = channels.get(target) or channels.setdefault(target, grpc.insecure_channel(target))
        started = time.monotonic()
        answer = {"code": "OK", "words": "", "body": ""}
        try:
            answer["body"] = channel.unary_unary(METHOD)(b"hello", timeout=float(more[0])).decode()
        except grpc.RpcError as failed:
            answer |= {"code": failed.code().name, "words": failed.details() or ""}
        say({**answer, "seconds": time.monotonic() - started})


if __name__ == "__main__":
    main()
