import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromScroll, type Geometry, isJump, scrollEnd, scrollHeight, TALLEST, toScroll, walk } from './scroll-map';

const geometry = fc.record({
  rows: fc.integer({ min: 1, max: 20_000_000 }),
  rowHeight: fc.constantFrom(16, 20, 24),
  viewport: fc.integer({ min: 100, max: 3000 }),
});

/** How far two places are from each other, in rows. */
function distance(a: { row: number; part: number }, b: { row: number; part: number }): number {
  return Math.abs(a.row + a.part - b.row - b.part);
}

describe('the scroll bar', () => {
  it('is never taller than browsers allow, and never shorter than what is visible', () => {
    fc.assert(
      fc.property(geometry, (g) => {
        expect(scrollHeight(g)).toBeLessThanOrEqual(Math.max(TALLEST, g.viewport));
        expect(scrollHeight(g)).toBeGreaterThanOrEqual(g.viewport);
      }),
    );
  });

  it('comes back to the same place', () => {
    fc.assert(
      fc.property(geometry, fc.double({ min: 0, max: 1, noNaN: true }), (g, share) => {
        const top = share * scrollEnd(g);
        expect(toScroll(fromScroll(top, g), g)).toBeCloseTo(top, 1);
      }),
    );
  });

  it('stands at its ends at the ends of the log', () => {
    fc.assert(
      fc.property(geometry, (g) => {
        expect(fromScroll(0, g)).toEqual({ row: 0, part: 0 });
        const end = fromScroll(scrollEnd(g), g);
        const hidden = Math.max(0, g.rows - g.viewport / g.rowHeight);
        expect(distance(end, { row: 0, part: hidden })).toBeLessThan(0.01);
        expect(toScroll({ row: g.rows - 1, part: 0.99 }, g)).toBeLessThanOrEqual(scrollEnd(g));
      }),
    );
  });

  it('moves by pixels in a log that fits', () => {
    const g: Geometry = { rows: 1000, rowHeight: 20, viewport: 600 };
    expect(toScroll({ row: 100, part: 0.5 }, g)).toBeCloseTo(2010, 6);
    expect(distance(fromScroll(2010, g), { row: 100, part: 0.5 })).toBeLessThan(1e-6);
  });

  it('reaches every line of 13 million to a page', () => {
    const g: Geometry = { rows: 13_000_000, rowHeight: 20, viewport: 800 };
    const perPixel = fromScroll(1000, g).row - fromScroll(999, g).row;
    expect(perPixel).toBeLessThan(g.viewport / g.rowHeight);
    expect(perPixel).toBeGreaterThan(1);
  });
});

describe('a step', () => {
  const heights = (row: number): number => (row % 7 === 0 ? 55 : 20);

  it('down and back ends where it began', () => {
    fc.assert(
      fc.property(fc.integer({ min: 100, max: 900 }), fc.integer({ min: 0, max: 1500 }), (row, pixels) => {
        const g: Geometry = { rows: 1000, rowHeight: 20, viewport: 600 };
        const there = walk({ row, part: 0 }, pixels, g, heights);
        const back = walk(there, -pixels, g, heights);
        if (there.row < g.rows - 1) expect(distance(back, { row, part: 0 })).toBeLessThan(0.01);
      }),
    );
  });

  it('stays inside the log', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 49 }), fc.integer({ min: -5000, max: 5000 }), (row, pixels) => {
        const g: Geometry = { rows: 50, rowHeight: 20, viewport: 600 };
        const place = walk({ row, part: 0.3 }, pixels, g, heights);
        expect(place.row).toBeGreaterThanOrEqual(0);
        expect(place.row).toBeLessThan(50);
        expect(place.part).toBeGreaterThanOrEqual(0);
        expect(place.part).toBeLessThan(1);
      }),
    );
  });

  it('is told from a jump', () => {
    const g: Geometry = { rows: 1000, rowHeight: 20, viewport: 600 };
    expect(isJump(0, 600, g)).toBe(false);
    expect(isJump(0, 6000, g)).toBe(true);
  });
});
