"""Calls every method through the proxy that the environment names, and says what came back as JSON."""

import json
import queue
import sys

import grpc

target, secure = sys.argv[1], sys.argv[2] == "tls"
channel = grpc.secure_channel(target, grpc.ssl_channel_credentials()) if secure else grpc.insecure_channel(target)
TEXT = b"{secrets.crm.apiKey} \xc3\xa9"
METADATA = (("x-key", "Bearer {secrets.crm.apiKey}"), ("x-raw-bin", b"{secrets.crm.apiKey}"))
said = {}


def decoded(messages):
    return [message.decode() for message in messages]


call = channel.unary_unary("/t.T/Unary")
answer, state = call.with_call(TEXT, metadata=METADATA, timeout=20)
said["unary"] = decoded([answer])
said["initial"] = dict(state.initial_metadata()).get("x-initial")
said["trailing"] = {key: value.hex() if isinstance(value, bytes) else value for key, value in state.trailing_metadata()}

said["server_stream"] = decoded(channel.unary_stream("/t.T/ServerStream")(TEXT, metadata=METADATA))
said["client_stream"] = decoded([channel.stream_unary("/t.T/ClientStream")(iter([b"a", b"b", TEXT]), metadata=METADATA)])

# Each message is sent only when the one before came back: whoever held anything would lock.
waiting = queue.Queue()
both = channel.stream_stream("/t.T/Both")(iter(waiting.get, None), metadata=METADATA)
echoed = []
for number in range(4):
    waiting.put(TEXT + str(number).encode())
    echoed.append(next(both))
waiting.put(None)
said["both"] = decoded(echoed)
said["both_ended"] = list(both) == []


def status(run):
    try:
        run()
        return None
    except grpc.RpcError as error:
        return [error.code().name, error.details(), dict(error.trailing_metadata() or ()).get("x-sum")]


said["fails"] = status(lambda: channel.unary_unary("/t.T/Fails")(b"x"))
said["deadline"] = status(lambda: list(channel.unary_stream("/t.T/Hangs")(b"deadline", timeout=1)))
hanging = channel.unary_stream("/t.T/Hangs")(b"cancelled")
next(hanging)
hanging.cancel()
said["cancelled"] = status(lambda: next(hanging))
said["refused"] = status(lambda: channel.unary_unary("/t.T/Unary")(b"x", metadata=(("x-key", "{secrets.no.such}"),), timeout=20))
large = b"z" * 3_000_000
said["large"] = channel.unary_unary("/t.T/Unary")(large, timeout=20) == large
print(json.dumps(said))
