// Drives the pages in Chromium as people do: `node driver.mjs WALK` with a JSON object of what there is to
// drive on standard input. A walk that finds something else than it expects says so and fails.

import { execFile } from "node:child_process";
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { promisify } from "node:util";
import { strict as assert } from "node:assert";

const given = JSON.parse(readFileSync(0, "utf8"));
const tools = createRequire(given.tools + "/node/");
const { chromium } = tools("playwright-core");
const run = promisify(execFile);

const SWITCHES = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** A browser with a profile of its own; `name` is its directory. */
export async function browser(name, options = {}) {
  const context = await chromium.launchPersistentContext(`${given.directory}/${name}`, {
    executablePath: given.chromium, args: SWITCHES, baseURL: given.admin, viewport: { width: 1280, height: 900 }, ...options,
  });
  context.setDefaultTimeout(20_000);
  const page = context.pages()[0] ?? (await context.newPage());
  page.faults = [];
  page.on("pageerror", (fault) => page.faults.push(String(fault)));
  page.on("console", (message) => {
    // An answer that is a refusal is told as an error too.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) page.faults.push(message.text());
  });
  // What is not ours is not loaded.
  page.on("request", (request) => {
    if (!request.url().startsWith(given.admin)) page.faults.push("loaded " + request.url());
  });
  return { context, page };
}

/** Through the proxy, as a runner does. Answers status and text. */
async function send(url, headers, token) {
  const credentials = token ? `runner:${token}@` : "";
  const { stdout } = await run("curl", [
    "-sg", "--max-time", "20", "-x", `http://${credentials}${given.proxy}`, "--cacert", given.ca, "-w", "\n%{http_code}", url,
    ...headers.flatMap((header) => ["-H", header]),
  ]);
  const lines = stdout.split("\n");
  return { status: Number(lines.pop()), text: lines.join("\n") };
}

const shown = (page, text) => page.getByText(text).first().waitFor();
const button = (page, name) => page.getByRole("button", { name, exact: true });
const link = (page, name) => page.getByRole("link", { name, exact: true });

/** Signs the first administrator in by the link of the first start. */
async function begin(page) {
  await page.goto(given.setup);
  await page.getByLabel("Login").fill("ada@example.com");
  await page.getByLabel("Password").fill(given.password);
  await button(page, "Make the account").click();
  await page.getByRole("heading", { level: 1, name: "Secrets" }).waitFor();
}

async function createSecret(page, { name, value, description = "", domains = "" }) {
  await link(page, "Secrets").first().click();
  await link(page, "Create secret").first().click();
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Value", { exact: true }).fill(value);
  await page.getByLabel("Description").fill(description);
  await page.getByLabel("Allowed domains").fill(domains);
  await button(page, "Create secret").click();
}

async function test(page, { url, headers = "", body = "" }) {
  await link(page, "Test a request").click();
  await page.getByLabel("URL or curl command").fill("");
  await page.getByText("The parts of the request").click();
  await page.getByLabel("URL", { exact: true }).fill(url);
  await page.getByLabel("Headers").fill(headers);
  await page.getByLabel("Body").fill(body);
  await button(page, "Test the request").click();
  await page.locator("#verdict").waitFor({ state: "attached" });
}

/** The user's guide, sentence by sentence. With `scripts` off nothing but the server does the work. */
async function guide({ scripts }) {
  const { context, page } = await browser("ada", { javaScriptEnabled: scripts });
  await begin(page);

  // Open Organization; go to Secrets; the list shows all configured secrets.
  await link(page, "Organization").click();
  await link(page, "Secrets").first().click();
  await shown(page, "billing.existing");

  // Click Create secret, fill in the fields, save the form.
  await createSecret(page, { name: "crm.guide", value: given.value + "\n", description: "Of the CRM", domains: `https://${given.crm.toUpperCase()}/` });
  await shown(page, "was created");
  await shown(page, "One line end at the end of the value was left out.");

  // The value is shown in a masked form after saving, and nowhere in full.
  await link(page, "Secrets").first().click();
  const row = page.getByRole("row").filter({ hasText: "crm.guide" });
  await row.getByText("••••••••").waitFor();
  await row.getByText(given.crm, { exact: true }).waitFor();
  assert.ok(!(await page.content()).includes(given.value), "the list shows the value");

  // Name rules: a letter first; letters, numbers, _, - and . ; unique.
  for (const [name, said] of [["9lives", "must start with a letter"], ["crm key", "letters, digits, underscores"], ["crm.guide", "exists already"]]) {
    await createSecret(page, { name, value: given.value, description: "kept" });
    await page.locator("#name-error").getByText(said).waitFor();
    assert.equal(await page.getByLabel("Name", { exact: true }).inputValue(), name);
    assert.equal(await page.getByLabel("Description").inputValue(), "kept");
    assert.equal(await page.getByLabel("Value", { exact: true }).inputValue(), "", "a value came back");
  }

  // Use it in a request: headers, query, body, path, authentication headers.
  const reference = "{secrets.crm.guide}";
  await test(page, { url: `https://${given.crm}/v1/${reference}?key=${reference}`, headers: `Authorization: Bearer ${reference}\nX-Key: ${reference}\nContent-Type: application/json`, body: `{"key":"${reference}"}` });
  await shown(page, `It would be sent to https://${given.crm}`);
  for (const surface of ["path", "query", "header", "authentication", "body"]) {
    await page.getByRole("row").filter({ hasText: surface }).getByText("permitted").waitFor();
  }
  assert.equal((await send(`https://${given.crm}/first`, [`X-Key: ${reference}`])).status, 200);

  // Not in the base URL.
  await test(page, { url: `https://${reference}.example.com/` });
  await shown(page, "secret_in_authority");

  // If the target does not match, the test fails with a domain restriction error; and so does the execution.
  await test(page, { url: `https://${given.evil}/`, headers: `X-Key: ${reference}` });
  await shown(page, "Refused: Domain restriction");
  const refused = await send(`https://${given.evil}/`, [`X-Key: ${reference}`]);
  assert.equal(refused.status, 403);
  assert.match(refused.text, /domain_restricted/);

  // Select the secret; update name and description; no new value, so the stored one stays.
  await link(page, "Secrets").first().click();
  await link(page, "crm.guide").click();
  assert.ok(!(await page.getByLabel("Enable value editing").isChecked()));
  await page.getByLabel("Name", { exact: true }).fill("crm.renamed");
  await page.getByLabel("Description").fill("Of the CRM, renamed");
  await button(page, "Save changes").click();
  await shown(page, "was saved");
  assert.equal((await send(`https://${given.crm}/renamed`, ["X-Key: {secrets.crm.renamed}"])).status, 200);

  // To change allowed domains a new value must be provided at the same time.
  await page.getByLabel("Allowed domains").fill(`*.crm.example.com\nexample.com`);
  if (scripts) {
    // Switched on while typing, and said why.
    await page.locator("[data-why]").waitFor();
    assert.ok(await page.getByLabel("Enable value editing").isChecked());
  }
  await button(page, "Save changes").click();
  await page.locator("#value-error").waitFor();
  assert.ok(await page.getByLabel("Enable value editing").isChecked());
  assert.match(await page.getByLabel("Allowed domains").inputValue(), /\*\.crm\.example\.com/);
  await page.getByLabel("Value", { exact: true }).fill(given.second);
  await button(page, "Save changes").click();
  await shown(page, "was saved");
  assert.equal((await send(`https://${given.crm}/replaced`, ["X-Key: {secrets.crm.renamed}"])).status, 200);

  // Two at once: whoever comes late is told who was faster, and what was typed stays.
  const late = await context.newPage();
  await late.goto(page.url());
  await page.getByLabel("Description").fill("First");
  await button(page, "Save changes").click();
  await shown(page, "was saved");
  await late.getByLabel("Description").fill("Second");
  await button(late, "Save changes").click();
  await shown(late, "ada@example.com changed this secret");
  assert.equal(await late.getByLabel("Description").inputValue(), "Second");
  await late.close();

  // Find the secret, click the remove action, confirm; what still uses it is told before.
  await link(page, "Secrets").first().click();
  await page.getByLabel("Search names, descriptions and domains").fill("renamed");
  await button(page, "Search").click();
  await link(page, "Remove crm.renamed").click();
  await page.getByRole("cell", { name: given.crm }).first().waitFor();
  await button(page, "Remove secret").click();
  await shown(page, "was removed");

  // A missing secret fails the test and the execution, until it is created or the reference removed.
  await test(page, { url: `https://${given.crm}/`, headers: "X-Key: {secrets.crm.renamed}" });
  await shown(page, "secret_not_found");
  assert.equal((await send(`https://${given.crm}/missing`, ["X-Key: {secrets.crm.renamed}"])).status, 422);
  await createSecret(page, { name: "crm.renamed", value: given.value, domains: given.crm });
  assert.equal((await send(`https://${given.crm}/again`, ["X-Key: {secrets.crm.renamed}"])).status, 200);

  await viewerAndNeighbours(page, scripts);
  await storage(page, scripts);
  assert.deepEqual(page.faults, []);
  await context.close();
}

/** Whoever may only look; and a second organization beside the first. */
async function viewerAndNeighbours(page, scripts) {
  await link(page, "Members").click();
  await link(page, "Invite somebody").click();
  await page.getByLabel("Login").fill("vera@example.com");
  await page.getByLabel("Viewer").check();
  await button(page, "Make the link").click();
  const invitation = await page.locator("[data-link]").textContent();

  await page.goto("/organizations");
  await link(page, "Create organization").click();
  await page.getByLabel("Name", { exact: true }).fill("acme");
  await button(page, "Create organization").click();
  await shown(page, "No secrets yet");
  await createSecret(page, { name: "crm.renamed", value: given.second });
  await shown(page, "was created");

  const vera = await browser("vera", { javaScriptEnabled: scripts });
  await vera.page.goto(invitation);
  await vera.page.getByLabel("Choose a password").fill(given.password);
  await button(vera.page, "Join").click();
  await shown(vera.page, "ask an administrator");
  await shown(vera.page, "crm.renamed");
  assert.equal(await link(vera.page, "Create secret").count(), 0);
  await link(vera.page, "crm.renamed").click();
  assert.equal(await button(vera.page, "Save changes").count(), 0);
  const elsewhere = await vera.page.goto("/organizations/acme/secrets");
  assert.equal(elsewhere.status(), 404);
  await shown(vera.page, "There is no such organization");
  const denied = await vera.page.goto("/organizations/default/new-secret");
  assert.equal(denied.status(), 403);
  await vera.page.goto("/");
  await vera.page.locator(".menu-account summary").click();
  await button(vera.page, "Sign out").click();
  await vera.page.getByRole("heading", { name: "Sign in" }).waitFor();
  await vera.page.goto("/organizations/default/secrets?q=crm");
  await vera.page.getByLabel("Login").fill("vera@example.com");
  await vera.page.getByLabel("Password").fill(given.password);
  await button(vera.page, "Sign in").click();
  await vera.page.waitForURL("**/organizations/default/secrets?q=crm");
  assert.deepEqual(vera.page.faults, []);
  await vera.context.close();
}

/** Nothing that was typed as a value is kept by the page or the browser. */
async function storage(page, scripts) {
  await page.goto("/organizations/default/new-secret");
  await page.getByLabel("Value", { exact: true }).fill(given.value);
  await page.goto("/organizations/default/secrets");
  await page.goBack();
  assert.equal(await page.getByLabel("Value", { exact: true }).inputValue(), "", "going back brings the value back");
  if (!scripts) return;
  const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state]));
  assert.equal(kept, JSON.stringify([{}, {}, "", null]));
}

/** Every page, looked at by axe-core in light, dark and narrow. */
async function access() {
  const { context, page } = await browser("ada", { bypassCSP: true });
  await begin(page);
  await createSecret(page, { name: "crm.guide", value: given.value, domains: given.crm });
  const axe = readFileSync(tools.resolve("axe-core/axe.min.js"), "utf8");
  const found = [];
  for (const [name, visit] of pages(page)) {
    await visit();
    for (const [mode, scheme, width] of [["light", "light", 1280], ["dark", "dark", 1280], ["narrow", "light", 390]]) {
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await page.setViewportSize({ width, height: 900 });
      await page.evaluate(axe);
      const { violations } = await page.evaluate(() => globalThis.axe.run({ resultTypes: ["violations"] }));
      for (const one of violations.filter((one) => ["serious", "critical"].includes(one.impact))) {
        found.push(`${name}, ${mode}: ${one.id}: ${one.nodes.map((node) => node.html).join(" ").slice(0, 300)}`);
      }
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
      if (wider > 0) found.push(`${name}, ${mode}: wider than the window by ${wider}`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
  }
  assert.deepEqual(found, []);
  assert.deepEqual(page.faults, []);
  await context.close();
}

/** Every page, with what leads there. */
function pages(page) {
  const own = "/organizations/default";
  const at = (path) => [path, () => page.goto(path)];
  const submit = (path, fill, name) => [`${path} (${name})`, async () => { await page.goto(path); await fill(); await button(page, name).click(); await page.waitForLoadState(); }];
  return [
    ...["/secrets", "/secrets?q=nothing+like+it", "/new-secret", "/secrets/crm.guide", "/secrets/crm.guide/remove", "/request-test", "/runners",
      "/new-runner", "/setup", "/members", "/new-invitation", "/new-token", "/members/ada%40example.com", "/members/ada%40example.com/remove",
      "/activity", "/activity?outcome=refused", "/welcome", "/nothing"].map((path) => at(own + path)),
    at("/organizations"), at("/new-organization"), at("/account"),
    submit(own + "/new-secret", async () => { await page.getByLabel("Name", { exact: true }).fill("9"); await page.getByLabel("Value", { exact: true }).fill("x"); await page.getByLabel("Allowed domains").fill("*.com"); }, "Create secret"),
    submit(own + "/new-runner", async () => page.getByLabel("Name", { exact: true }).fill("billing"), "Create runner"),
    submit(own + "/new-invitation", async () => page.getByLabel("Login").fill("vera@example.com"), "Make the link"),
    submit(own + "/new-token", async () => page.getByLabel("Name", { exact: true }).fill("terraform"), "Create token"),
    submit(own + "/request-test", async () => page.getByLabel("URL or curl command").fill(`curl https://${given.crm}/ -H 'X-Key: {secrets.crm.guide}' -H 'X-Other: {secrets.nope}'`), "Test the request"),
    at(own + "/runners"), at(own + "/runners/billing"), at(own + "/runners/billing/token"), at(own + "/runners/billing/revoke"), at(own + "/members"), at(own + "/tokens/terraform/revoke"),
  ];
}

const walks = {
  guide: () => guide({ scripts: true }),
  "guide-without-scripts": () => guide({ scripts: false }),
  access,
};

await walks[process.argv[2]]();
console.log("done");
