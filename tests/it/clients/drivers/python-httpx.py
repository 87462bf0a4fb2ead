# Python's httpx, in HTTP/1.1 or with HTTP/2 offered, as the fourth argument says.
import sys

import httpx

base, evil, address, version = sys.argv[1:5]
ref = "{secrets.crm.apiKey}"
client = httpx.Client(http2=version == "h2")


def ok(answer):
    assert answer.status_code == 200, answer.text
    return answer


ok(client.get(base + "/header", headers={"X-Api-Key": ref}))
ok(client.get(base + "/bearer", headers={"Authorization": "Bearer " + ref}))
ok(client.get(base + "/query", params={"k": ref}))
ok(client.get(base + "/path/" + ref + "/x"))
ok(client.get(base + "/basic", auth=("me", ref)))
ok(httpx.Client(cookies={"s": ref}).get(base + "/cookie"))
ok(client.post(base + "/json", json={"k": ref}))
ok(client.post(base + "/form", data={"k": ref}))
ok(client.post(base + "/multipart", files={"k": (None, ref)}))
ok(client.get(address + "/address", headers={"X-Api-Key": "{secrets.open}"}))
print("version", ok(client.get(base + "/version")).http_version.removeprefix("HTTP/"))
print(client.get(evil + "/", headers={"X": ref}).text)
