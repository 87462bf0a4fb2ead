"""A gRPC origin without generated code: every message is bytes. Prints its port, then a line of JSON for each call
that ended."""

import json
import sys
import threading
from concurrent import futures

import grpc

LOCK = threading.Lock()


def note(context, method, messages, **more):
    metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
    binary = {key: value.hex() for key, value in context.invocation_metadata() if isinstance(value, bytes)}
    with LOCK:
        print(json.dumps({"method": method, "metadata": metadata, "binary": binary,
                          "messages": [message.decode() for message in messages], **more}), flush=True)


def unary(request, context):
    note(context, "unary", [request], remaining=context.time_remaining())
    context.send_initial_metadata((("x-initial", "1"),))
    context.set_trailing_metadata((("x-sum", "7"), ("x-raw-bin", b"\x00\xff")))
    return request


def server_stream(request, context):
    note(context, "server_stream", [request])
    for number in range(3):
        yield request + str(number).encode()


def client_stream(requests, context):
    messages = list(requests)
    note(context, "client_stream", messages)
    return b"+".join(messages)


def both_streams(requests, context):
    seen = []
    for message in requests:
        seen.append(message)
        yield message
    note(context, "both_streams", seen)


def fails(request, context):
    context.set_trailing_metadata((("x-sum", "8"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today: \u00e9%")


def hangs(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    yield b"begun"
    ended.wait(30)
    note(context, "hangs", [request], active=context.is_active())


class Handler(grpc.GenericRpcHandler):
    def service(self, call):
        return {
            "/t.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
            "/t.T/ServerStream": grpc.unary_stream_rpc_method_handler(server_stream),
            "/t.T/ClientStream": grpc.stream_unary_rpc_method_handler(client_stream),
            "/t.T/Both": grpc.stream_stream_rpc_method_handler(both_streams),
            "/t.T/Fails": grpc.unary_unary_rpc_method_handler(fails),
            "/t.T/Hangs": grpc.unary_stream_rpc_method_handler(hangs),
        }.get(call.method)


server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((Handler(),))
if len(sys.argv) == 3:
    pair = tuple(open(path, "rb").read() for path in (sys.argv[2], sys.argv[1]))
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials((pair,)))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
sys.stdin.read()
server.stop(None)
