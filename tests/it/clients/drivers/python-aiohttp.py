# Python's aiohttp, which looks at the environment only when told to.
import asyncio
import sys

import aiohttp

base, evil, address = sys.argv[1:4]
ref = "{secrets.crm.apiKey}"


async def main():
    async with aiohttp.ClientSession(trust_env=True) as client:

        async def ok(method, url, **more):
            async with client.request(method, url, **more) as answer:
                text = await answer.text()
                assert answer.status == 200, text

        await ok("GET", base + "/header", headers={"X-Api-Key": ref})
        await ok("GET", base + "/bearer", headers={"Authorization": "Bearer " + ref})
        await ok("GET", base + "/query", params={"k": ref})
        await ok("GET", base + "/path/" + ref + "/x")
        await ok("GET", base + "/basic", auth=aiohttp.BasicAuth("me", ref))
        await ok("POST", base + "/json", json={"k": ref})
        await ok("POST", base + "/form", data={"k": ref})
        form = aiohttp.FormData(default_to_multipart=True)
        form.add_field("k", ref)
        await ok("POST", base + "/multipart", data=form)
        await ok("GET", address + "/address", headers={"X-Api-Key": "{secrets.open}"})
        async with client.get(evil + "/", headers={"X": ref}) as answer:
            print(await answer.text())
    # Its own cookies quotes values that hold braces; a field of one's own goes out as it is.
    async with aiohttp.ClientSession(trust_env=True, headers={"Cookie": "s=" + ref}) as client:
        async with client.get(base + "/cookie") as answer:
            assert answer.status == 200


asyncio.run(main())
