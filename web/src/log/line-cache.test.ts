import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LineCache, PAGE } from './line-cache';
import type { LinePage, LogLine } from './wire';

const TOTAL = 10_000;

function line(n: number, text = `line ${n}`): LogLine {
  return { n, at: '2026-11-20T18:00:00.000000Z', step: 0, stream: 'stdout', text };
}

/** A server whose answers the test gives when it wants to. */
class Server {
  readonly asked: { from: number; count: number; signal: AbortSignal; answer: (page?: Partial<LinePage>) => void; fail: (e: Error) => void }[] = [];
  readonly fetch = (from: number, count: number, signal: AbortSignal): Promise<LinePage> =>
    new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
      this.asked.push({
        from,
        count,
        signal,
        answer: (page) =>
          resolve({
            total: TOTAL,
            complete: true,
            from,
            lines: Array.from({ length: Math.min(count, TOTAL - from) }, (_, i) => line(from + i)),
            ...page,
          }),
        fail: reject,
      });
    });
}

const settled = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 0));

function make(budget = 1 << 20, retry = 1): [LineCache, Server] {
  const server = new Server();
  const cache = new LineCache(server.fetch, { budget, retry });
  cache.setTotal(TOTAL);
  return [cache, server];
}

describe('the cache of lines', () => {
  it('asks for what is missing once, in few requests', async () => {
    const [cache, server] = make();
    cache.want(10, 450);
    cache.want(20, 460);
    expect(server.asked.map((a) => [a.from, a.count])).toEqual([[0, 3 * PAGE]]);
    server.asked[0]?.answer();
    await settled();
    expect(cache.get(10)?.line.text).toBe('line 10');
    expect(cache.get(599)?.line.text).toBe('line 599');
    expect(cache.get(600)).toBeUndefined();
    cache.want(0, 599);
    expect(server.asked).toHaveLength(1);
  });

  it('gives up what nobody looks at any more', async () => {
    const [cache, server] = make();
    cache.want(0, 100);
    cache.want(5000, 5100);
    expect(server.asked[0]?.signal.aborted).toBe(true);
    expect(server.asked[1]?.signal.aborted).toBe(false);
    server.asked[1]?.answer();
    await settled();
    expect(cache.get(5050)?.line.text).toBe('line 5050');
    expect(cache.failure).toBeUndefined();
  });

  it('asks for the rest if an answer was short', async () => {
    const [cache, server] = make();
    cache.want(0, 399);
    server.asked[0]?.answer({ lines: Array.from({ length: 250 }, (_, i) => line(i)) });
    await settled();
    expect(server.asked[1]?.from).toBe(250);
    server.asked[1]?.answer();
    await settled();
    expect(cache.get(399)?.line.text).toBe('line 399');
  });

  it('tries again after a failure, and says that it failed', async () => {
    const [cache, server] = make();
    cache.want(0, 10);
    server.asked[0]?.fail(new Error('no network'));
    await settled();
    expect(cache.failure?.message).toBe('no network');
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(server.asked).toHaveLength(2);
    server.asked[1]?.answer();
    await settled();
    expect(cache.failure).toBeUndefined();
    expect(cache.get(3)?.line.text).toBe('line 3');
  });

  it('never asks behind the end', () => {
    const [cache, server] = make();
    cache.want(9_990, 20_000);
    expect(server.asked.map((a) => [a.from, a.count])).toEqual([[9_800, 200]]);
    const [empty, silent] = make();
    empty.setTotal(0);
    empty.want(0, 100);
    expect(silent.asked).toHaveLength(0);
  });

  it('keeps its bound, and what is on screen', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: TOTAL - 1 }), { minLength: 5, maxLength: 40 }), async (jumps) => {
        const budget = 60_000;
        const [cache, server] = make(budget);
        for (const at of jumps) {
          const before = server.asked.length;
          cache.want(at, at + 50);
          for (const request of server.asked.slice(before)) request.answer();
          await settled();
          expect(cache.get(at)?.line.n).toBe(at);
          // The pages around what is looked at stay, whatever they cost.
          expect(cache.size).toBeLessThanOrEqual(budget + 6 * PAGE * 80);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('carries colours from line to line and from page to page, and not from step to step', async () => {
    const [cache] = make();
    const red = { fg: 1 };
    cache.put([line(200), line(201, '\x1b[0mx'), line(202)]);
    cache.put(Array.from({ length: PAGE }, (_, n) => line(n, n === 198 ? '\x1b[31mred' : 'x')));
    await settled();
    expect(cache.get(198)?.style).toEqual({});
    expect(cache.get(199)?.style).toEqual(red);
    expect(cache.get(200)?.style).toEqual(red);
    expect(cache.get(201)?.style).toEqual(red);
    expect(cache.get(202)?.style).toEqual({});
    cache.put([{ ...line(200), step: 1 }]);
    expect(cache.get(200)?.style).toEqual({});
  });
});
