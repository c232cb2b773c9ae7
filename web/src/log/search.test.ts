import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Found, nextMatch, Search } from './search';
import type { Matches, Query } from './wire';

const QUERY: Query = { text: 'x', regex: false, matchCase: false };

/** A server that searches `stride` lines at a time, as the real one does when time is up. */
function server(matching: readonly number[], total: () => number, stride: number) {
  return async (_: Query, after: number, limit: number): Promise<Matches> => {
    await Promise.resolve();
    const to = Math.min(total(), after + stride);
    const found = matching.filter((line) => line + 1 > after && line + 1 <= to);
    const listed = found.slice(0, Math.min(limit, 1000));
    return { matches: listed.map((line) => ({ line, step: 0, at: [] })), count: found.length, complete: to >= total(), searched_to: to };
  };
}

async function finished(state: () => Found | undefined): Promise<Found> {
  for (let i = 0; i < 10_000; i += 1) {
    const found = state();
    if (found !== undefined && !found.busy) return found;
    await Promise.resolve();
  }
  throw new Error('the search does not end');
}

describe('a search', () => {
  it('counts every match once, and lists them all when asked to', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(fc.integer({ min: 0, max: 9_999 }), { maxLength: 3000, minLength: 0 }),
        fc.integer({ min: 700, max: 20_000 }),
        async (lines, stride) => {
          const matching = [...lines].sort((a, b) => a - b);
          let state: Found | undefined;
          const search = new Search(server(matching, () => 10_000, stride), (found) => (state = found));
          search.start(QUERY);
          expect((await finished(() => state)).count).toBe(matching.length);
          while (await search.more());
          expect(state?.lines).toEqual(matching);
          expect(state?.count).toBe(matching.length);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('goes on when the log grows', async () => {
    let total = 100;
    let state: Found | undefined;
    const search = new Search(server([5, 50, 150], () => total, 1000), (found) => (state = found));
    search.start(QUERY);
    expect((await finished(() => state)).lines).toEqual([5, 50]);
    total = 200;
    search.grown();
    expect((await finished(() => state)).lines).toEqual([5, 50, 150]);
  });

  it('says why it failed, and forgets the search before', async () => {
    let state: Found | undefined;
    const search = new Search(() => Promise.reject(new Error('unclosed group')), (found) => (state = found));
    search.start(QUERY);
    expect((await finished(() => state)).failure).toContain('unclosed group');
    search.start({ ...QUERY, text: '' });
    expect(state).toBeUndefined();
  });
});

describe('the next match', () => {
  it.each([
    [[], 5, true, -1],
    [[3, 7, 9], 3, true, 1],
    [[3, 7, 9], 4, true, 1],
    [[3, 7, 9], 9, true, 0],
    [[3, 7, 9], 7, false, 0],
    [[3, 7, 9], 3, false, 2],
    [[3, 7, 9], 100, false, 2],
  ] as const)('of %j from %d', (lines, from, forward, expected) => {
    expect(nextMatch([...lines], from, forward)).toBe(expected);
  });
});
