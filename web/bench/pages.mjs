// The numbers of the pages, measured in headless Chromium against a real server and a real
// runner: the first load, the list of 100,000 runs with each filter, and what 200 viewers of
// one log cost its step. The exit code is 1 if a number is missed.
//
//   node bench/pages.mjs [--runs 100000] [--viewers 200] [--part load|viewers|lists] [--json FILE]
import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import { parseArgs } from 'node:util';
import { Fleet, note, quantile, rows, session } from './common.mjs';

const { values } = parseArgs({
  options: { runs: { type: 'string', default: '100000' }, viewers: { type: 'string', default: '200' }, part: { type: 'string' }, json: { type: 'string' } },
});
const RUNS = Number(values.runs);
const VIEWERS = Number(values.viewers);
const BATCH = 1000;

/** Bytes of scripts over the wire, and the time until the list answers a key. */
async function firstLoad(fleet) {
  const times = [];
  let scripts = 0;
  for (let i = 0; i < 5; i += 1) {
    const { browser, page } = await session(fleet);
    const cdp = await page.context().newCDPSession(page);
    await cdp.send('Network.enable');
    const kinds = new Map();
    let bytes = 0;
    cdp.on('Network.responseReceived', (event) => kinds.set(event.requestId, event.type));
    cdp.on('Network.loadingFinished', (event) => {
      if (kinds.get(event.requestId) === 'Script') bytes += event.encodedDataLength;
    });
    const began = performance.now();
    await page.goto(`${fleet.pages}/ui/runs`, { waitUntil: 'commit' });
    await page.getByRole('heading', { level: 1 }).first().waitFor();
    await page.keyboard.press('?');
    await page.getByRole('dialog').waitFor();
    times.push(performance.now() - began);
    scripts = Math.max(scripts, bytes);
    await browser.close();
  }
  times.sort((a, b) => a - b);
  note('first load: compressed scripts', scripts / 1000, 300, 'KB');
  note('first load, cold browser, until a key is answered, median of 5', times[2], 1000, 'ms');
}

async function manyRuns(fleet) {
  const document = (n) => `name: flow-${n % 40}\non: push\njobs:\n  a:\n    runs-on: [nobody-${n % 7}]\n    steps: [{ run: "true" }]\n`;
  const began = performance.now();
  for (let made = 0; made < RUNS; made += BATCH) {
    const runs = Array.from({ length: Math.min(BATCH, RUNS - made) }, (_, i) => ({
      kind: 'workflow',
      document: document(made + i),
      repository: { url: 'https://git.example.org/o/r.git', name: 'o/r', ref: `refs/heads/branch-${(made + i) % 31}`, sha: 'a'.repeat(40) },
    }));
    await fleet.api('/runs/batch', { method: 'POST', body: JSON.stringify({ runs }), headers: { 'Content-Type': 'application/json' } });
  }
  console.log(`        (${RUNS} runs in ${((performance.now() - began) / 1000).toFixed(1)} s)`);
}

const FILTERS = [
  '', 'status=queued', 'conclusion=failure', 'kind=workflow', 'project=default', 'workflow=flow-3', 'branch=branch-5', 'actor=token:1',
  'event=push', 'label=nobody-3', 'runner=nobody', 'text=flow-12', 'text=no-such-words', 'label=nobody-3&branch=branch-5&text=flow-1',
];

/** Every filter at the server, and the slowest on the page. */
async function filters(fleet) {
  let worst = ['', 0];
  for (const filter of FILTERS) {
    const times = [];
    for (let i = 0; i < 5; i += 1) {
      const began = performance.now();
      await fleet.api(`/runs?limit=50&${filter}`);
      times.push(performance.now() - began);
    }
    const median = times.sort((a, b) => a - b)[2];
    if (median > worst[1]) worst = [filter, median];
  }
  note(`list of ${RUNS} runs, slowest filter (${worst[0] || 'none'})`, worst[1], 300, 'ms');
  const { browser, page } = await session(fleet);
  await page.goto(`${fleet.pages}/ui/runs`);
  await page.getByText('flow-', { exact: false }).first().waitFor();
  const shown = [];
  for (const [query, words] of [['workflow=flow-3', 'flow-3'], ['branch=branch-5', 'branch-5'], ['label=nobody-3', 'nobody-3']]) {
    const began = performance.now();
    const answered = page.waitForResponse((response) => response.url().includes('/api/v1/runs?') && response.url().includes(words));
    await page.evaluate((search) => {
      history.pushState({}, '', `/ui/runs?${search}`);
      dispatchEvent(new PopStateEvent('popstate'));
    }, query);
    await answered;
    await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
    shown.push(performance.now() - began);
  }
  note(`list of ${RUNS} runs, a filter chosen to rows on screen, most of 3`, Math.max(...shown), 300, 'ms');
  await browser.close();
}

/** Follows a log as the page does, and counts nothing but what must be read. */
function viewer(fleet, job) {
  const request = get(`${fleet.pages}/api/v1/jobs/${job}/log/follow?from_line=1&skip=true`, {
    headers: { authorization: `Bearer ${fleet.token}`, accept: 'text/event-stream' },
  }, (response) => response.resume());
  request.on('error', () => undefined);
  return () => request.destroy();
}

/** How long a step takes that prints 300,000 lines, with and without viewers, in turns. */
async function viewers(fleet) {
  const lasts = async (count) => {
    const job = await fleet.submit('watched', [{
      name: 'Prints',
      run: `sleep 2; date +%s%N > began; awk 'BEGIN { for (i = 1; i <= 300000; i++) { printf "line %d of a log that many people read\\n", i; if (i % 300 == 0) { fflush(); system("sleep 0.005") } } }'; echo "took $(( ($(date +%s%N) - $(cat began)) / 1000 ))"`,
    }]);
    const ends = Array.from({ length: count }, () => viewer(fleet, job.id));
    await fleet.ended(job.id, 300_000);
    for (const end of ends) end();
    const tail = await fleet.api(`/jobs/${job.id}/log/lines?tail=10`);
    const line = tail.lines.find((each) => /^took \d+$/.test(each.text));
    return Number(line.text.slice(5));
  };
  const ratios = [];
  for (let i = 0; i < 3; i += 1) {
    const alone = await lasts(0);
    const watched = await lasts(VIEWERS);
    ratios.push((watched / alone - 1) * 100);
  }
  note(`a step with ${VIEWERS} viewers of its log is slower by, median of 3`, quantile(ratios.sort((a, b) => a - b), 0.5), 5, '%');
}

const fleet = await Fleet.start();
try {
  const wanted = (part) => values.part === undefined || values.part === part;
  if (wanted('load')) await firstLoad(fleet);
  if (wanted('viewers')) await viewers(fleet);
  if (wanted('lists')) {
    await manyRuns(fleet);
    await filters(fleet);
  }
} finally {
  await fleet.stop();
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
process.exitCode = rows.every((row) => row.met) ? 0 : 1;
