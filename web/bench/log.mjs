// The numbers of the log viewer, measured in headless Chromium against a real server and a
// real runner: a log of 1 GiB is printed, opened and scrolled; a second job prints 1,000
// lines a second and each line is timed from its print to the screen. Each line of the
// table has the number found beside the one wanted; the exit code is 1 if one is missed.
//
//   node bench/log.mjs [--lines 13000000] [--seconds 20] [--json FILE]
//
// FLEETFOOT_BINARY names the binary (default: ../target/release/fleetfoot); its dashboard must
// be built in (`make web`, then `make build`), or FLEETFOOT_UI=dist be set.
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { Fleet, note, quantile, rows, session, until } from './common.mjs';

const { values } = parseArgs({
  options: { lines: { type: 'string', default: '13000000' }, seconds: { type: 'string', default: '20' }, json: { type: 'string' } },
});
const LINES = Number(values.lines);
const SECONDS = Number(values.seconds);
const MIDDLE = Math.floor(LINES / 2);

/** Opens the log; milliseconds until the line is on screen, painted. */
async function open(page, address, line) {
  const began = performance.now();
  await page.goto(address, { waitUntil: 'commit' });
  await page.waitForFunction(
    (n) => {
      const row = document.querySelector(`.log-row[data-line="${n}"]:not(.log-wait)`);
      const frame = document.querySelector('.log-scroll')?.getBoundingClientRect();
      const box = row?.getBoundingClientRect();
      return box !== undefined && frame !== undefined && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1;
    },
    line,
    { polling: 'raf', timeout: 60_000 },
  );
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  return performance.now() - began;
}

async function opening(fleet, job, total) {
  const end = `${fleet.pages}/ui/jobs/${job}/log`;
  for (const [name, hash, line] of [
    ['at the end', '', total - 1],
    ['at a permalink in the middle', `#L${MIDDLE}`, MIDDLE - 1],
  ]) {
    const times = [];
    let bytes = 0;
    for (let i = 0; i < 3; i += 1) {
      const { browser, page, transferred } = await session(fleet);
      times.push(await open(page, end + hash, line));
      bytes = Math.max(bytes, transferred());
      await browser.close();
    }
    times.sort((a, b) => a - b);
    note(`opened ${name}, cold browser, median of 3`, times[1], 1000, 'ms');
    note(`transferred until then, all files of the page`, bytes / 1e6, 5, 'MB');
  }
}

/** Private memory of the page's process, in MB. */
async function memory(browser, cdp) {
  const root = await browser.newBrowserCDPSession();
  const { processInfo } = await root.send('SystemInfo.getProcessInfo');
  let most = 0;
  for (const process of processInfo.filter((p) => p.type === 'renderer')) {
    try {
      const rollup = readFileSync(`/proc/${process.id}/smaps_rollup`, 'utf8');
      const kib = [...rollup.matchAll(/^Private_(?:Clean|Dirty):\s+(\d+) kB$/gm)].reduce((sum, m) => sum + Number(m[1]), 0);
      most = Math.max(most, kib / 1000);
    } catch {
      // The process ended, or this is no Linux.
    }
  }
  const { metrics } = await cdp.send('Performance.getMetrics');
  const heap = metrics.find((m) => m.name === 'JSHeapUsedSize')?.value ?? 0;
  return { heap: heap / 1e6, process: most };
}

async function scrolling(fleet, job, total) {
  const { browser, page, cdp } = await session(fleet);
  await open(page, `${fleet.pages}/ui/jobs/${job}/log#L${MIDDLE}`, MIDDLE - 1);
  await page.evaluate(() => {
    const frames = [];
    window.frames_ = frames;
    const tick = (now) => {
      frames.push(now);
      requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await page.mouse.move(600, 400);
  const rate = async (move) => {
    await page.evaluate(() => void (window.frames_.length = 0));
    const ends = performance.now() + 5000;
    while (performance.now() < ends) await move();
    return page.evaluate(() => {
      const f = window.frames_;
      const gaps = f.slice(1).map((t, i) => t - f[i]).sort((a, b) => a - b);
      return { fps: ((f.length - 1) * 1000) / (f.at(-1) - f[0]), worst: gaps[Math.floor(gaps.length * 0.99)] };
    });
  };
  let n = 0;
  const wheel = await rate(() => page.mouse.wheel(0, (n += 1) % 200 < 150 ? 240 : -240));
  note('scrolling with the wheel, 5 s', wheel.fps, 50, 'frames/s', true);
  console.log(`        (one frame in a hundred takes longer than ${wheel.worst.toFixed(0)} ms)`);
  const drag = await rate(() =>
    page.evaluate(() => {
      const scroll = document.querySelector('.log-scroll');
      scroll.scrollTop = Math.random() * (scroll.scrollHeight - scroll.clientHeight);
      return new Promise((resolve) => requestAnimationFrame(resolve));
    }),
  );
  note('pulling the bar all over the log, 5 s', drag.fps, 50, 'frames/s', true);
  await page.keyboard.press('G');
  await page.waitForSelector(`.log-row[data-line="${total - 1}"]:not(.log-wait)`, { timeout: 20_000 });
  const found = await memory(browser, cdp);
  note('memory of the page after that, heap of scripts', found.heap, 200, 'MB');
  note('memory of the page after that, private, whole process', found.process, 200, 'MB');
  await browser.close();
}

/** Prints 1,000 lines a second, each with the moment of its print in milliseconds. */
const TICKER = `import sys, time
end = time.time() + ${SECONDS}
n = 0
start = time.time()
while time.time() < end:
    due = int((time.time() - start) * 1000)
    while n < due:
        sys.stdout.write(f"tick {n} {time.time() * 1000:.1f}\\n")
        n += 1
    sys.stdout.flush()
    time.sleep(0.001)
`;

/** The slowest moments, in words: how late, and how far into the output. */
function stalls(seenAt) {
  const first = Math.min(...seenAt.map(([, at]) => at));
  const worst = new Map();
  for (const [by, at] of seenAt) {
    const second = Math.floor((at - first) / 1000);
    worst.set(second, Math.max(worst.get(second) ?? 0, by));
  }
  const sorted = [...worst].sort((a, b) => b[1] - a[1]).slice(0, 4);
  return sorted.map(([second, by]) => `${by.toFixed(0)} ms in second ${second + 1}`);
}

async function latency(fleet) {
  const { browser, page } = await session(fleet);
  const job = await fleet.submit('ticker', [{ name: 'Ticks', run: `sleep 3\npython3 -u - <<'END'\n${TICKER}END` }]);
  await page.goto(`${fleet.pages}/ui/jobs/${job.id}/log`);
  await page.waitForSelector('.log-window');
  await page.evaluate(() => {
    const seen = new Set();
    window.late_ = [];
    const look = () => {
      // What is in the page now is on screen with the next frame.
      const fresh = [];
      for (const row of document.querySelectorAll('.log-window > [data-line]')) {
        const match = /^tick (\d+) ([\d.]+)$/.exec(row.querySelector('.log-text')?.textContent ?? '');
        if (match === null || seen.has(match[1])) continue;
        seen.add(match[1]);
        fresh.push(Number(match[2]));
      }
      if (fresh.length > 0) {
        requestAnimationFrame(() => {
          const now = performance.timeOrigin + performance.now();
          for (const at of fresh) window.late_.push([now - at, at]);
        });
      }
    };
    new MutationObserver(look).observe(document.querySelector('.log-window'), { childList: true, subtree: true, characterData: true });
  });
  await fleet.ended(job.id, (SECONDS + 60) * 1000);
  await page.waitForTimeout(1000);
  const seenAt = await page.evaluate(() => window.late_);
  const late = seenAt.map(([by]) => by).sort((a, b) => a - b);
  const seen = late.length / (SECONDS * 1000);
  console.log(`        (${late.length} lines were seen on screen, ${(seen * 100).toFixed(0)} % of those printed; median ${quantile(late, 0.5).toFixed(0)} ms)`);
  // One stall of the disk or of the page delays all lines of its moment: where they lie tells which.
  console.log(`        (the slowest moments: ${stalls(seenAt).join(', ')})`);
  note('line printed to line on screen at 1,000 lines/s, p99', quantile(late, 0.99), 250, 'ms');
  await browser.close();
}

const fleet = await Fleet.start();
try {
  console.log(`printing ${LINES} lines ...`);
  // 83 bytes a line: 13 million of them are 1 GiB.
  const text = 'x'.repeat(60);
  const began = performance.now();
  let job = await fleet.submit('large', [{ name: 'Large', run: `awk 'BEGIN { for (i = 1; i <= ${LINES}; i++) printf "line %09d of the log ${text}\\n", i }'` }]);
  job = await fleet.ended(job.id, 1_800_000);
  if (job.conclusion !== 'success') throw new Error(`the job that prints: ${job.conclusion}`);
  console.log(`        (took ${((performance.now() - began) / 1000).toFixed(1)} s)`);
  const total = await until('the number of lines', async () => (await fleet.api(`/jobs/${job.id}/log/lines?tail=1`)).total);
  console.log(`        (${total} lines)`);
  await opening(fleet, job.id, total);
  await scrolling(fleet, job.id, total);
  await latency(fleet);
} finally {
  await fleet.stop();
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
process.exitCode = rows.every((row) => row.met) ? 0 : 1;
