/**
 * Addresses of lines: `#L10` and `#L10-L20`, counted from 1 as people count.
 */

/** Lines from `from` to `to`, both included, counted from 1. */
export interface LineRange {
  readonly from: number;
  readonly to: number;
}

/** The lines that an address names; `undefined` if it names none. */
export function parseHash(hash: string | undefined): LineRange | undefined {
  const match = /^#?L(\d{1,15})(?:-L?(\d{1,15}))?$/i.exec(hash ?? '');
  if (match === null) return undefined;
  const a = Number(match[1]);
  const b = match[2] === undefined ? a : Number(match[2]);
  if (a < 1 || b < 1) return undefined;
  return { from: Math.min(a, b), to: Math.max(a, b) };
}

/** The address of lines. */
export function formatHash(range: LineRange): string {
  return range.from === range.to ? `#L${range.from}` : `#L${range.from}-L${range.to}`;
}

/** The range that a click on `line` selects; with `extend` from the start of the one before. */
export function select(before: LineRange | undefined, line: number, extend: boolean, anchor?: number): LineRange {
  if (!extend || before === undefined) {
    return { from: line, to: line };
  }
  const fixed = anchor ?? before.from;
  return { from: Math.min(fixed, line), to: Math.max(fixed, line) };
}
