// Drives Chromium for the tests: reads one command a line on standard input, answers each with one line.
// It finds things as a screen reader does, by role and name, and uses them by keyboard.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [modules, profile, base] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const puppeteer = require('puppeteer-core');
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

const PATIENCE = 60_000;
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  userDataDir: profile,
  // It ends with this process, however that ends.
  pipe: true,
  // Only what a server without a screen and without a way out needs: nothing here changes what a profile keeps.
  ignoreDefaultArgs: true,
  args: [
    '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-default-apps',
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1', '--remote-debugging-pipe', `--user-data-dir=${profile}`, 'about:blank',
  ],
});

const people = new Map();
const noticed = [];

// Everybody but the first has a context of their own: other cookies, same browser.
async function person(name) {
  if (people.has(name)) return people.get(name);
  const context = people.size ? await browser.createBrowserContext() : browser.defaultBrowserContext();
  const page = (await context.pages())[0] ?? await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  await page.setViewport({ width: 1280, height: 900 });
  const wire = await page.createCDPSession();
  await wire.send('Audits.enable');
  wire.on('Audits.issueAdded', ({ issue }) => {
    if (issue.code === 'ContentSecurityPolicyIssue') noticed.push(`policy: ${JSON.stringify(issue.details.contentSecurityPolicyIssueDetails)}`);
  });
  page.on('pageerror', (error) => noticed.push(`error: ${error.message}`));
  page.on('console', (message) => {
    // That an answer was a refusal is what the tests look at themselves.
    const refused = message.text().startsWith('Failed to load resource: the server responded with a status of');
    if (['error', 'warn'].includes(message.type()) && !refused) noticed.push(`console: ${message.text()}`);
  });
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.origin !== base && url.protocol !== 'about:') noticed.push(`elsewhere: ${request.url()}`);
  });
  people.set(name, { page, context });
  return people.get(name);
}

async function all(page, { role, name }) {
  return page.$$(`::-p-aria([name="${name.replaceAll('"', '\\"')}"][role="${role}"])`);
}

async function one(page, what) {
  const found = await all(page, what);
  if (found.length === 1) return found[0];
  const names = await page.accessibility.snapshot({ interestingOnly: true });
  throw new Error(`${found.length} of ${what.role} "${what.name}" on ${page.url()}\n${outline(names)}`);
}

function outline(node, depth = 0) {
  const own = `${'  '.repeat(depth)}${node.role} ${JSON.stringify(node.name ?? '')}`;
  return [own, ...(node.children ?? []).map((child) => outline(child, depth + 1))].join('\n');
}

async function focus(page, what) {
  const handle = await one(page, what);
  await handle.focus();
  return handle;
}

// Does what leads to another page, and waits until that is there.
async function leads(page, act) {
  const [answer] = await Promise.all([page.waitForNavigation({ waitUntil: 'load' }), act()]);
  return { status: answer?.status() ?? 0, path: page.url().replace(base, '') };
}

const DO = {
  async scripts({ page }, { on }) { await page.setJavaScriptEnabled(on); },
  async open({ page }, { path }) { return leads(page, () => page.goto(base + path)); },
  async back({ page }) { return leads(page, () => page.goBack()); },
  async follow({ page }, what) {
    await focus(page, what);
    return leads(page, () => page.keyboard.press('Enter'));
  },
  async press({ page }, what) {
    await focus(page, what);
    await page.keyboard.press(['checkbox', 'switch'].includes(what.role) ? 'Space' : 'Enter');
  },
  async type({ page }, { text, ...what }) {
    await focus(page, what);
    await page.keyboard.down('Control');
    await page.keyboard.press('a');
    await page.keyboard.up('Control');
    await page.keyboard.press('Delete');
    await page.keyboard.type(text);
  },
  async field({ page }, what) {
    return (await one(page, what)).evaluate((input) => ({
      value: input.value,
      checked: input.checked ?? false,
      invalid: input.getAttribute('aria-invalid') === 'true',
      said: (input.getAttribute('aria-describedby') ?? '').split(' ').filter(Boolean).map((id) => document.getElementById(id).innerText).join(' '),
    }));
  },
  async count({ page }, what) { return (await all(page, what)).length; },
  async text({ page }) { return page.evaluate(() => document.body.innerText); },
  async waits({ page }, { text }) {
    await page.waitForFunction((wanted) => document.body.innerText.includes(wanted), {}, text);
  },
  // What a page asks of the server by itself, with the person's cookies.
  async fetch({ page }, { path, method = 'GET' }) {
    return page.evaluate(async (path, method) => {
      const answer = await fetch(path, { method, redirect: 'manual' });
      const kind = answer.headers.get('content-type') ?? '';
      const streams = kind.startsWith('text/event-stream');
      const text = streams ? '' : await answer.text();
      if (streams) await answer.body.cancel();
      return { status: answer.status, redirects: answer.type === 'opaqueredirect', kind, text };
    }, path, method);
  },
  async look({ page }, { width, scheme }) {
    await page.setViewport({ width, height: 900 });
    await page.emulateMediaFeatures([
      { name: 'prefers-color-scheme', value: scheme },
      { name: 'prefers-reduced-motion', value: 'reduce' },
    ]);
  },
  // What axe-core finds on the page as it stands, serious and critical, and whether it is wider than the window.
  async faults({ page }, { rules }) {
    if (!await page.evaluate(() => Boolean(globalThis.axe))) await page.evaluate(axe);
    return page.evaluate(async (rules) => {
      const only = rules.length ? { runOnly: { type: 'rule', values: rules } } : {};
      const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'], ...only });
      const serious = violations.filter((found) => ['serious', 'critical'].includes(found.impact));
      const faults = serious.flatMap((found) => found.nodes.map((node) => `${found.id}: ${node.html}: ${node.failureSummary}`));
      const root = document.documentElement;
      if (root.scrollWidth > root.clientWidth) faults.push(`too wide: ${root.scrollWidth} of ${root.clientWidth}`);
      return faults;
    }, rules);
  },
  async kept({ page, context }) {
    const stores = await page.evaluate(async () => ({
      local: Object.entries(localStorage), session: Object.entries(sessionStorage), databases: (await indexedDB.databases()).map((database) => database.name),
      caches: globalThis.caches ? await caches.keys() : [], workers: (await navigator.serviceWorker?.getRegistrations() ?? []).length, window: window.name,
      state: JSON.stringify(history.state),
    }));
    const wire = await page.createCDPSession();
    const { entries } = await wire.send('Page.getNavigationHistory');
    return { ...stores, cookies: (await context.cookies()).map((cookie) => cookie.name), history: entries.map(({ url, title }) => `${url} ${title}`) };
  },
  async noticed() { return noticed; },
  async picture({ page }, { file }) { await page.screenshot({ path: file, fullPage: true }); },
};

for await (const line of createInterface({ input: process.stdin })) {
  const { act, who, ...rest } = JSON.parse(line);
  if (act === 'quit') break;
  let answer;
  try {
    answer = { is: await DO[act](await person(who), rest) ?? null };
  } catch (error) {
    answer = { fault: `${who}: ${act} ${JSON.stringify(rest)}: ${error.message}` };
  }
  console.log(JSON.stringify(answer));
}
await browser.close();
process.exit(0);
