"""Access logs."""

import json

from fairlead._pb.envoy.config.accesslog.v3 import accesslog_pb2
from fairlead._pb.envoy.config.core.v3 import substitution_format_string_pb2
from fairlead._pb.envoy.extensions.access_loggers.file.v3 import file_pb2
from fairlead._pb.google.protobuf import struct_pb2
from fairlead.intent import AccessLog
from fairlead.render.encoding import packed
from fairlead.render.names import LISTENER_LOG


def of_all(log: AccessLog, name: str) -> accesslog_pb2.AccessLog:
    """A line for every request or connection."""
    format_string = substitution_format_string_pb2.SubstitutionFormatString()
    if log.is_json:
        structure = struct_pb2.Struct()
        structure.update(json.loads(log.format))
        format_string.json_format.CopyFrom(structure)
    else:
        format_string.text_format_source.inline_string = log.format
    logger = file_pb2.FileAccessLog(path=log.path, log_format=format_string)
    return accesslog_pb2.AccessLog(name=name, typed_config=packed(logger))


def of_unmatched_connections(log: AccessLog) -> accesslog_pb2.AccessLog:
    """A line for every connection that a listener has no filter chain for, of which nothing else tells."""
    message = of_all(log, LISTENER_LOG)
    message.filter.response_flag_filter.flags.append("NR")
    return message
