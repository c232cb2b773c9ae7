import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { formatHash, parseHash, select } from './hash';

describe('addresses of lines', () => {
  it.each([
    ['#L10', { from: 10, to: 10 }],
    ['L10', { from: 10, to: 10 }],
    ['#L10-L20', { from: 10, to: 20 }],
    ['#L10-20', { from: 10, to: 20 }],
    ['#L20-L10', { from: 10, to: 20 }],
    ['#l7', { from: 7, to: 7 }],
  ])('%s', (hash, expected) => {
    expect(parseHash(hash)).toEqual(expected);
  });

  it.each([undefined, '', '#', '#L', '#L0', '#L-1', '#L1.5', '#L1e9', '#summary', '#L1-', '#L99999999999999999999'])(
    '%s names none',
    (hash) => {
      expect(parseHash(hash)).toBeUndefined();
    },
  );

  it('are read as they were written', () => {
    const line = fc.integer({ min: 1, max: 1e12 });
    fc.assert(
      fc.property(line, line, (a, b) => {
        const range = { from: Math.min(a, b), to: Math.max(a, b) };
        expect(parseHash(formatHash(range))).toEqual(range);
      }),
    );
  });

  it('a click selects, with shift from the first click on', () => {
    expect(select(undefined, 5, true)).toEqual({ from: 5, to: 5 });
    expect(select({ from: 5, to: 5 }, 9, true, 5)).toEqual({ from: 5, to: 9 });
    expect(select({ from: 5, to: 9 }, 2, true, 5)).toEqual({ from: 2, to: 5 });
    expect(select({ from: 5, to: 9 }, 7, false)).toEqual({ from: 7, to: 7 });
  });
});
