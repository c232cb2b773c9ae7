/** Everything that a person can do with a log, in Chromium, against a real server and runner. */
import AxeBuilder from 'axe-core';
import type { Browser } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Fleet, type Job, until } from './fleet';
import { closed, openLog, sees, seesLine, pictured, signedIn, startBrowser, type Viewer, visible } from './viewer';

let fleet: Fleet;
let browser: Browser;
let viewer: Viewer;

beforeAll(async () => {
  fleet = await Fleet.start();
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await fleet?.stop();
});
beforeEach(async () => {
  viewer = await signedIn(browser, fleet);
});
afterEach(async (context) => {
  await pictured(viewer, context.task.name);
  await closed(viewer);
});

const FAILING = [
  { name: 'First', run: 'for i in $(seq 1 60); do echo "first $i"; done' },
  {
    name: 'Broken',
    run: [
      'echo "::group::Outer"; for i in $(seq 1 5); do echo "outer $i"; done',
      'echo "::group::Inner"; echo "inner text"; echo "::endgroup::"; echo "::endgroup::"',
      'for i in $(seq 1 300); do echo "filler $i"; done',
      'echo "::error file=src/a.c,line=3::it does not compile"',
      'for i in $(seq 1 100); do echo "after $i"; done',
      'exit 3',
    ].join('\n'),
  },
  { name: 'Never', run: 'echo never' },
];

async function finished(name: string, steps: Parameters<Fleet['submit']>[1], secrets?: Record<string, string>): Promise<Job> {
  return fleet.ended((await fleet.submit(name, steps, secrets)).id);
}

describe('a failed job', () => {
  let job: Job;
  beforeAll(async () => {
    job = await finished('failing', FAILING);
  });

  it('is opened at the first error of the step that failed', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    const error = await sees(page, 'it does not compile');
    expect(error.text).toBe('Error: it does not compile (src/a.c:3)');
    expect(await page.locator('[data-step]').first().isVisible()).toBe(true);
    await page.keyboard.press('g');
    // Other steps are closed, the one that failed is open.
    const heading = page.locator('.log-window [data-step]');
    await until('the headings', async () => (await heading.count()) >= 2);
    expect(await page.getByRole('button', { name: /^First ?, succeeded/ }).getAttribute('aria-expanded')).toBe('false');
    expect(await page.locator('.log-window').getByRole('button', { name: /^Broken ?, failed/ }).getAttribute('aria-expanded')).toBe('true');
  });

  it('folds and unfolds steps and groups, and groups in groups', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await page.keyboard.press('g');
    const first = page.locator('.log-window').getByRole('button', { name: /^First/ });
    await first.click();
    await sees(page, 'first 1');
    await first.click();
    await until('the step is closed', async () => !(await visible(page)).some((line) => line.text === 'first 1'));
    const outer = page.locator('.log-window').getByRole('button', { name: /Outer/ });
    expect(await outer.getAttribute('aria-expanded')).toBe('false');
    await outer.click();
    await sees(page, 'outer 1');
    const inner = page.locator('.log-window').getByRole('button', { name: /Inner/ });
    await inner.click();
    await sees(page, 'inner text');
    await outer.click();
    await until('the group is closed', async () => !(await visible(page)).some((line) => line.text === 'inner text'));
  });

  it('jumps to the first error, to the beginning and to the end', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await page.keyboard.press('G');
    await sees(page, 'after 100');
    await page.keyboard.press('e');
    await sees(page, 'it does not compile');
    expect(new URL(page.url()).hash).toMatch(/^#L\d+$/);
    await page.keyboard.press('g');
    await until('the heading of the first step', () => page.getByRole('button', { name: /^First/ }).first().isVisible());
    await page.getByRole('button', { name: '1 error' }).click();
    await sees(page, 'it does not compile');
  });

  it('shows the lines that an address names, also folded ones', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id, '#L5-L7');
    const line = await seesLine(page, 5);
    expect(line.text).toContain('first');
    expect(await page.locator('.log-selected').count()).toBe(3);
    await page.getByRole('button', { name: 'Copy lines' }).click();
    const copied = await until('the clipboard', async () => (await page.evaluate(() => navigator.clipboard.readText())) || undefined);
    expect(copied.trim().split('\n')).toHaveLength(3);
    expect(copied).toContain(line.text);
    await page.getByRole('link', { name: 'Line 10', exact: true }).click();
    expect(new URL(page.url()).hash).toBe('#L10');
    await page.getByRole('link', { name: 'Line 12', exact: true }).click({ modifiers: ['Shift'] });
    expect(new URL(page.url()).hash).toBe('#L10-L12');
    await page.getByRole('button', { name: 'Deselect' }).click();
    expect(new URL(page.url()).hash).toBe('');
  });

  it('is searched at the server, with a count, jumps, case and patterns', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await page.keyboard.press('/');
    await page.keyboard.type('FIRST 6');
    const count = page.locator('.log-count');
    // In the script that the step shows it stands as `first $i`: 6 and 60 are output.
    await until('a count', async () => (await count.textContent()) === '2');
    await page.keyboard.press('Enter');
    await sees(page, 'first 6');
    expect(await count.textContent()).toMatch(/^[12] of 2$/);
    expect(await page.locator('.log-current mark').count()).toBe(1);
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    await page.keyboard.type('after (99|100)$');
    await until('no match', async () => (await count.textContent()) === 'no matches');
    await page.getByRole('button', { name: 'Regular expression' }).click();
    await until('matches', async () => (await count.textContent()) === '2');
    await page.getByRole('button', { name: 'Next match' }).click();
    await page.getByRole('button', { name: 'Next match' }).click();
    await sees(page, 'after 100');
    await page.getByRole('button', { name: 'Match case' }).click();
    await until('matches with case', async () => /2/.test((await count.textContent()) ?? ''));
    await page.locator('.log-scroll').focus();
    await page.keyboard.press('N');
    await page.keyboard.press('n');
    await page.keyboard.press('/');
    await page.keyboard.press('Control+a');
    await page.keyboard.type('(');
    await until('the fault of the pattern', async () => (await count.textContent()) === 'not a pattern');
    viewer.errors.splice(0, viewer.errors.length, ...viewer.errors.filter((e) => !e.includes('400')));
  });

  it('shows times, wraps, fills the screen and gives the bytes', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await sees(page, 'it does not compile');
    expect(await page.locator('.log-time').count()).toBe(0);
    await page.keyboard.press('t');
    expect(await page.locator('.log-time').first().textContent()).toMatch(/^\d\d:\d\d:\d\d\.\d{3}$/);
    await page.keyboard.press('t');
    expect(await page.locator('.log-time').first().textContent()).toMatch(/^(\+|\d+:)[\d:]*\d\.\d{3}$/);
    await page.keyboard.press('t');
    expect(await page.locator('.log-time').count()).toBe(0);
    await page.keyboard.press('w');
    await until('wrapped', () => page.locator('.log.log-wrap').count());
    await page.keyboard.press('w');
    await page.getByRole('button', { name: 'Full screen' }).click();
    await until('full', () => page.locator('.log.log-full').count());
    await page.getByRole('button', { name: 'Full screen' }).click();
    await until('not full', async () => (await page.locator('.log.log-full').count()) === 0);
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Download the raw log' }).click()]);
    expect(download.suggestedFilename()).toBe(`job-${job.id}.log`);
    const path = await download.path();
    const { readFileSync } = await import('node:fs');
    expect(readFileSync(path, 'utf8')).toContain('::error file=src/a.c,line=3::it does not compile\n');
  });

  it('has no fault that a checker of accessibility finds, light and dark', async () => {
    const { page } = viewer;
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme });
      await openLog(viewer, fleet, job.id);
      await sees(page, 'it does not compile');
      // The page's own policy forbids foreign scripts; the checker comes in by the debugger.
      await page.evaluate(AxeBuilder.source);
      const faults = await page.evaluate(async () => {
        const { axe } = window as unknown as { axe: { run: (where: unknown, options: unknown) => Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> } };
        const result = await axe.run({ include: ['.log'] }, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa'] });
        return result.violations.map((v) => `${v.id}: ${v.nodes[0]?.html ?? ''}`);
      });
      expect(faults, colorScheme).toEqual([]);
    }
  });

  it('can be used on a phone', async () => {
    await viewer.page.setViewportSize({ width: 390, height: 780 });
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await sees(page, 'it does not compile');
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    expect(wide).toBeLessThanOrEqual(0);
    expect(await page.locator('.log.log-wrap').count()).toBe(1);
    for (const name of ['Search the log', 'Wrap long lines', 'Go to the end']) {
      expect(await page.getByLabel(name).isVisible(), name).toBe(true);
    }
  });
});

describe('a running job', () => {
  const TICKS = [{ name: 'Ticks', run: 'for i in $(seq 1 2000); do echo "tick $i"; sleep 0.05; done' }];
  let job: Job;
  beforeAll(async () => {
    job = await fleet.submit('ticks', TICKS);
    await until('the job runs', async () => (await fleet.job(job.id)).status === 'running');
  });
  afterAll(async () => {
    await fleet.api(`/runs/${job.run}/cancel`, { method: 'POST' });
  });

  it('is followed from wherever it is, and its first line is there', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await until('live', async () => (await page.locator('.log-live').textContent()) === 'Live');
    const now = Math.max(...(await visible(page)).map((line) => line.n));
    await until('more lines', async () => Math.max(...(await visible(page)).map((line) => line.n)) > now + 5);
    await page.keyboard.press('g');
    await sees(page, /^tick 1$/);
  });

  it('stops following when one scrolls up, and jumps to the end again', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await until('enough lines', async () => Math.max(...(await visible(page)).map((line) => line.n)) > 60, 20_000);
    await page.locator('.log-scroll').hover();
    await page.mouse.wheel(0, -400);
    const jump = page.getByRole('button', { name: /Jump to end/ });
    await jump.waitFor();
    const still = await until('it stands still', async () => {
      const before = await visible(page);
      await new Promise((resolve) => setTimeout(resolve, 400));
      const after = await visible(page);
      return before[0]?.n === after[0]?.n ? after : undefined;
    });
    await jump.click();
    await until('it moves', async () => ((await visible(page))[0]?.n ?? 0) > (still[0]?.n ?? 0) + 3);
    await page.keyboard.press('f');
    await jump.waitFor();
    await page.keyboard.press('f');
    await jump.waitFor({ state: 'detached' });
  });

  it('is searched while it grows', async () => {
    const { page } = viewer;
    await openLog(viewer, fleet, job.id);
    await page.getByLabel('Search the log').fill('tick 1$');
    await page.getByRole('button', { name: 'Regular expression' }).click();
    await until('one match', async () => (await page.locator('.log-count').textContent()) === '1');
  });
});

describe('how lines look', () => {
  it('colours, attributes, progress, links, masks and standard error', async () => {
    const { page } = viewer;
    const job = await finished(
      'looks',
      [
        {
          name: 'Looks',
          run: [
            String.raw`printf 'sixteen \033[31mred\033[0m \033[1;4;92mbright\033[0m\n'`,
            String.raw`printf 'many \033[38;5;208morange\033[0m \033[38;2;120;40;220mviolet\033[0m \033[3;9mstruck\033[0m \033[7minverse\033[0m\n'`,
            String.raw`printf '10 percent\r50 percent\rfull\033[K\n'`,
            String.raw`printf '\033]8;;https://example.com/ok\033\\good link\033]8;;\033\\ and plain https://example.org/x.\n'`,
            'echo "the secret is ${{ secrets.TOKEN }}"',
            'echo "to standard error" >&2',
          ].join('\n'),
        },
      ],
      { TOKEN: 'geheim-12345' },
    );
    await openLog(viewer, fleet, job.id);
    await sees(page, /^sixteen red bright$/);
    const styleOf = (text: string) =>
      page.getByText(text, { exact: true }).last().evaluate((e) => {
        const s = getComputedStyle(e);
        return { color: s.color, weight: s.fontWeight, line: s.textDecorationLine, slant: s.fontStyle, ground: s.backgroundColor };
      });
    const plain = await page.locator('.log-text').last().evaluate((e) => getComputedStyle(e).color);
    expect((await styleOf('red')).color).not.toBe(plain);
    expect(await styleOf('bright')).toMatchObject({ weight: '700', line: 'underline' });
    expect((await styleOf('orange')).color).not.toBe(plain);
    expect(await styleOf('struck')).toMatchObject({ line: 'line-through', slant: 'italic' });
    expect((await styleOf('inverse')).ground).toBe(plain);
    await sees(page, /^fullercent$|^full$/);
    expect((await sees(page, /^full/)).text).toBe('full');
    const link = page.getByRole('link', { name: 'good link', includeHidden: true });
    expect(await link.getAttribute('href')).toBe('https://example.com/ok');
    expect(await link.getAttribute('rel')).toContain('noopener');
    expect(await page.locator('a.log-link[href="https://example.org/x"]').count()).toBe(1);
    const error = page.locator('.log-stderr', { hasText: 'to standard error' });
    expect(await error.count()).toBe(1);
  });
});
