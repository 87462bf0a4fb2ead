// Node's ws, which needs an agent for the proxy.
import { HttpsProxyAgent } from 'https-proxy-agent';
import WebSocket from 'ws';

const [base, evil] = process.argv.slice(2).map(url => url.replace('https://', 'wss://'));
const ref = '{secrets.crm.apiKey}';
const agent = new HttpsProxyAgent(process.env.HTTPS_PROXY);
await new Promise((resolve, reject) => {
  const socket = new WebSocket(`${base}/ws/${ref}/x?k=${ref}`, { agent, headers: { 'X-Api-Key': ref } });
  socket.on('message', text => { console.log(String(text)); resolve(); });
  socket.on('error', reject);
});
await new Promise((resolve, reject) => {
  const socket = new WebSocket(evil + '/', { agent, headers: { X: ref } });
  socket.on('open', () => reject(new Error('it opened')));
  socket.on('error', () => {});
  socket.on('unexpected-response', (request, answer) => {
    answer.on('data', text => console.log(String(text)));
    answer.on('end', resolve);
  });
});
process.exit(0);
