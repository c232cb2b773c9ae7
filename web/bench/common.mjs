// What the measurements share: the real fleet of the tests, a fresh browser, and a table of
// numbers beside what is wanted.
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { runnerImport } from 'vite';

process.env.FLEETFOOT_BINARY ??= fileURLToPath(new URL('../../target/release/fleetfoot', import.meta.url));
const { module } = await runnerImport(fileURLToPath(new URL('../tests/log/fleet.ts', import.meta.url)), { configFile: false, logLevel: 'error' });

export const { Fleet, until } = module;
const { CHROMIUM } = module;

/** Every number noted so far. */
export const rows = [];
/** Notes one number; `wanted` is the most (or the least) that is allowed. */
export function note(measure, found, wanted, unit, least = false) {
  const met = least ? found >= wanted : found <= wanted;
  rows.push({ measure, found, wanted, unit, met });
  const sign = least ? '≥' : '≤';
  console.log(`${met ? 'met   ' : 'MISSED'}  ${measure.padEnd(52)} ${found.toFixed(1).padStart(9)} ${unit.padEnd(9)} wanted ${sign} ${wanted} ${unit}`);
}

/** The value that a share of the sorted ones does not exceed. */
export const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;

/** A fresh browser, so that nothing is cached; counts the bytes that come over the wire. */
export async function session(fleet) {
  const browser = await chromium.launch(CHROMIUM);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 } });
  const signed = await context.request.post(`${fleet.pages}/api/v1/session`, { data: { token: fleet.token } });
  if (!signed.ok()) throw new Error(`signing in: ${signed.status()} ${await signed.text()}`);
  await context.addInitScript(() => {
    // The page asks who is signed in only if somebody may be.
    if (location.protocol === 'http:') localStorage.setItem('fleetfoot.signed-in', '1');
  });
  const page = await context.newPage();
  page.on('pageerror', (error) => console.error('page error:', error.message));
  const cdp = await context.newCDPSession(page);
  await cdp.send('Network.enable');
  await cdp.send('Performance.enable');
  let bytes = 0;
  cdp.on('Network.dataReceived', (event) => {
    bytes += event.encodedDataLength > 0 ? event.encodedDataLength : 0;
  });
  cdp.on('Network.responseReceived', (event) => {
    bytes += event.response.encodedDataLength > 0 ? event.response.encodedDataLength : 0;
  });
  return { browser, page, cdp, transferred: () => bytes };
}
