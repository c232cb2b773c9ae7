/** How much the first load weighs, as the server sends it. */
import { expect, test } from 'vitest';
import { launch, open, Server, signIn } from './harness.ts';

const BUDGET_BYTES = 300 * 1024;

test.skipIf(process.env['FLEETFOOT_UI'] === 'dist')('the first load has at most 300 KB of compressed script', async () => {
  const [browser, server] = await Promise.all([launch(), Server.up()]);
  try {
    const watched = await open(browser, server);
    await signIn(watched, server);
    await watched.page.goto('/ui/runs');
    await watched.page.getByText('Nothing has run yet').waitFor();
    const sizes = await watched.page.evaluate(() =>
      performance
        .getEntriesByType('resource')
        .filter((entry): entry is PerformanceResourceTiming => entry instanceof PerformanceResourceTiming && entry.name.endsWith('.js'))
        .map((entry) => ({ sent: entry.encodedBodySize, whole: entry.decodedBodySize })),
    );
    const sent = sizes.reduce((sum, { sent: each }) => sum + each, 0);
    expect(sizes.length).toBeGreaterThan(3);
    expect(sent).toBeLessThan(sizes.reduce((sum, { whole }) => sum + whole, 0) / 2);
    expect(sent).toBeLessThanOrEqual(BUDGET_BYTES);
  } finally {
    await browser.close();
    await server.down();
  }
});
