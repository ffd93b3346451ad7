// Walks through /docs in a real browser: sign in, run a list, see the answer.
//
//     docs.cjs BASE_URL EMAIL PASSWORD TOKEN SUBJECT SCREENSHOT_DIR CHROMIUM
//
// Prints one JSON document of what was seen. It needs `playwright-core` beside it in NODE_PATH.
"use strict";

const { chromium } = require("playwright-core");

const [base, email, password, token, subject, shots, executablePath] = process.argv.slice(2);
const LONG_MS = 60_000;

async function main() {
  const browser = await chromium.launch({
    executablePath,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"],
  });
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.setDefaultTimeout(LONG_MS);
  const seen = { violations: [], errors: [], elsewhere: [], status: [] };
  // What the policy of the page forbids shows as an error on the console.
  page.on("console", (line) => {
    const text = line.text();
    if (/Content Security Policy/i.test(text)) seen.violations.push(text);
    else if (line.type() === "error" && !/401/.test(text)) seen.errors.push(text);
  });
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && !url.startsWith("data:")) seen.elsewhere.push(url);
  });
  const shot = (name) => page.screenshot({ path: `${shots}/${name}.png`, fullPage: false });

  await page.goto(`${base}/docs`);
  await page.waitForSelector("#sign-in:not([hidden])");
  await shot("1-sign-in");

  // A wrong password is told, and lets nobody in.
  await page.fill("#email", email);
  await page.fill("#password", `${password} not`);
  await page.click("#by-password button");
  await page.waitForSelector("#problem:not([hidden])");
  seen.problem = await page.textContent("#problem");
  await page.fill("#password", password);
  await page.click("#by-password button");
  await page.waitForSelector("#explorer .opblock-tag-section");
  seen.who = await page.textContent("#who");
  seen.scriptSeesCookie = await page.evaluate(() => document.cookie);
  seen.kept = await page.evaluate(() => localStorage.length + sessionStorage.length);
  await shot("2-operations");

  // Lists tickets.
  const list = await run(page, seen, "data/ticket", "get", "/api/v1/data/ticket");
  seen.listed = list.includes(subject);
  await shot("3-list");

  // The session lives in the cookie: the page comes back signed in.
  await page.reload();
  await page.waitForSelector("#explorer .opblock-tag-section");
  await page.click("#sign-out");
  await page.waitForSelector("#sign-in:not([hidden])");
  seen.leftBehind = await page.locator("#explorer *").count();

  // The other way in: a token, which goes with the calls.
  await page.fill("#token", token);
  await page.click("#by-token button");
  await page.waitForSelector("#explorer .opblock-tag-section");
  const again = await run(page, seen, "data/ticket", "get", "/api/v1/data/ticket");
  seen.listedByToken = again.includes(subject);

  // A narrow screen.
  await page.setViewportSize({ width: 390, height: 800 });
  await shot("4-narrow");
  await browser.close();
  process.stdout.write(JSON.stringify(seen));
}

// Opens an operation, executes it and gives the answer's text.
async function run(page, seen, tag, method, path) {
  const section = page.locator(`.opblock-tag[data-tag="${tag}"]`);
  await section.click();
  const operation = page
    .locator(`.opblock-${method}`)
    .filter({ has: page.locator(`[data-path="${path}"]`) });
  await operation.locator(".opblock-summary-control").first().click();
  const button = operation.locator("button.execute");
  await button.click();
  const answer = operation.locator(".live-responses-table .response");
  await answer.waitFor();
  seen.status.push((await answer.locator(".response-col_status").textContent()).trim());
  await answer.locator(".response-col_description").scrollIntoViewIfNeeded();
  return await answer.locator(".response-col_description").innerText();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
