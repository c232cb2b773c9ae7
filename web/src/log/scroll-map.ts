/**
 * Where in the log a scroll bar stands, and the other way round. Browsers cap the height of
 * an element near 33 million pixels, so a long log is taller than what scrolls: small steps
 * move by pixels, jumps by share. Pure arithmetic.
 */

/** The tallest element that is made, in pixels. */
export const TALLEST = 8_000_000;

/** What the arithmetic needs to know. */
export interface Geometry {
  /** Rows of the log. */
  readonly rows: number;
  /** Height of a usual row, in pixels. */
  readonly rowHeight: number;
  /** Height of what is visible, in pixels. */
  readonly viewport: number;
}

/** A place in the log: a row, and the share of it that is above the visible part (0 up to 1). */
export interface Place {
  readonly row: number;
  readonly part: number;
}

/** Height that all rows would have, in pixels. */
export function virtualHeight(geometry: Geometry): number {
  return geometry.rows * geometry.rowHeight;
}

/** Height of the element that scrolls, in pixels. */
export function scrollHeight(geometry: Geometry): number {
  return Math.max(Math.min(virtualHeight(geometry), TALLEST), geometry.viewport);
}

/** The furthest that the element scrolls, in pixels. */
export function scrollEnd(geometry: Geometry): number {
  return scrollHeight(geometry) - geometry.viewport;
}

function virtualEnd(geometry: Geometry): number {
  return Math.max(0, virtualHeight(geometry) - geometry.viewport);
}

/** Where the scroll bar stands when `place` is at the top. */
export function toScroll(place: Place, geometry: Geometry): number {
  const end = virtualEnd(geometry);
  if (end === 0) return 0;
  const top = (place.row + place.part) * geometry.rowHeight;
  return (Math.min(Math.max(top, 0), end) / end) * scrollEnd(geometry);
}

/** What is at the top when the scroll bar stands at `top`. */
export function fromScroll(top: number, geometry: Geometry): Place {
  const end = scrollEnd(geometry);
  if (end <= 0 || geometry.rows === 0) {
    return { row: 0, part: 0 };
  }
  const share = Math.min(Math.max(top / end, 0), 1);
  const rows = (share * virtualEnd(geometry)) / geometry.rowHeight;
  const row = Math.min(Math.floor(rows), geometry.rows - 1);
  return { row, part: Math.min(Math.max(rows - row, 0), 0.999_999) };
}

/** Heights of rows that were measured: by index, in pixels; `undefined` if not known. */
export type Heights = (row: number) => number | undefined;

/** The place that is `pixels` further down (or up, if negative). */
export function walk(place: Place, pixels: number, geometry: Geometry, heights: Heights): Place {
  const height = (row: number): number => Math.max(1, heights(row) ?? geometry.rowHeight);
  let row = place.row;
  let offset = place.part * height(row) + pixels;
  while (offset < 0 && row > 0) {
    row -= 1;
    offset += height(row);
  }
  while (row < geometry.rows - 1 && offset >= height(row)) {
    offset -= height(row);
    row += 1;
  }
  return { row, part: Math.min(Math.max(offset / height(row), 0), 0.999_999) };
}

/** Whether a scroll from one position to another is a jump (of the bar) and no step (of a wheel). */
export function isJump(before: number, after: number, geometry: Geometry): boolean {
  return Math.abs(after - before) > geometry.viewport * 1.5;
}
