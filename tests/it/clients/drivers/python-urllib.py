# Python's own urllib, in the strict mode that Python 3.13 has by default.
import json
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request

base, evil, address = sys.argv[1:4]
ref = "{secrets.crm.apiKey}"
context = ssl.create_default_context()
context.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context))


def ok(url, data=None, **fields):
    fields = {name.replace("_", "-"): value for name, value in fields.items()}
    with opener.open(urllib.request.Request(url, data=data, headers=fields)) as answer:
        assert answer.status == 200


ok(base + "/header", X_Api_Key=ref)
ok(base + "/bearer", Authorization="Bearer " + ref)
ok(base + "/query?" + urllib.parse.urlencode({"k": ref}))
ok(base + "/path/" + urllib.parse.quote(ref) + "/x")
ok(base + "/cookie", Cookie="s=" + ref)
ok(base + "/json", json.dumps({"k": ref}).encode(), Content_Type="application/json")
ok(base + "/form", urllib.parse.urlencode({"k": ref}).encode())
ok(address + "/address", X_Api_Key="{secrets.open}")
try:
    ok(evil + "/", X=ref)
except urllib.error.HTTPError as refusal:
    print(refusal.read().decode())
