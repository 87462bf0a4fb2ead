# Python's grpcio, without generated code: messages are bytes, and come back as they went.
import queue
import sys

import grpc

ref = "{secrets.crm.apiKey}"
message = (ref + " is text here").encode()
more = dict(metadata=[("x-api-key", ref)], timeout=20)
channel = grpc.secure_channel("h2.crm.example.com:443", grpc.ssl_channel_credentials())

assert channel.unary_unary("/subrosa.test/Unary")(message, **more) == message
assert list(channel.unary_stream("/subrosa.test/Down")(message, **more)) == [message]
assert channel.stream_unary("/subrosa.test/Up")(iter([message]), **more) == message

# Each message is sent only when the one before it has come back.
sent = queue.Queue()
sent.put(message)
answers = channel.stream_stream("/subrosa.test/Both")(iter(sent.get, None), **more)
for left in (2, 1, 0):
    assert next(answers) == message
    sent.put(message if left else None)
assert list(answers) == []

evil = grpc.secure_channel(sys.argv[2].replace("https://", "") + ":443", grpc.ssl_channel_credentials())
try:
    evil.unary_unary("/subrosa.test/Unary")(message, **more)
except grpc.RpcError as refusal:
    print(refusal.code(), refusal.details())
