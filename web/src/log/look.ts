/**
 * How rows and lines answer to one another: what is drawn, which lines that needs, where a
 * row went when others were folded, and where a log is opened. No state and no page.
 */
import { parseLine } from './ansi';
import { copyText } from './clipboard';
import type { LineRange } from './hash';
import type { Region, Row, Rows } from './rows';
import type { Range, Scroller } from './scroller';
import type { LogSource, OutlineError } from './wire';

/** Lines that are copied at most. */
const COPIED = 100_000;

/** Draws the rows of a range. */
export function drawnRows<T>(rows: Rows, range: Range, draw: (row: Row) => T): T[] {
  const list: T[] = [];
  for (let i = range.first; i < range.end; i += 1) {
    const row = rows.at(i);
    if (row !== undefined) list.push(draw(row));
  }
  return list;
}

/** First and last line among some rows. */
export function linesOf(rows: Rows, range: Range): [number, number] {
  let from = Number.MAX_SAFE_INTEGER;
  let to = -1;
  for (let i = range.first; i < range.end; i += 1) {
    const row = rows.at(i);
    if (row?.kind !== 'line') continue;
    from = Math.min(from, row.n);
    to = Math.max(to, row.n);
  }
  return [from, to];
}

/** The line at a row, or the next one below. */
export function lineAt(rows: Rows, row: number): number {
  for (let i = row; i < Math.min(row + 50, rows.count); i += 1) {
    const found = rows.at(i);
    if (found?.kind === 'line') return found.n;
  }
  return 0;
}

/** Where a row of before is now. */
export function moved(before: Rows, after: Rows, row: number): number {
  const old = before.at(row);
  if (old === undefined) return row;
  return old.kind === 'step' ? (after.ofStep(old.step) ?? row) : after.ofLine(old.n);
}

/** The step in whose lines the top row is, so that its heading can stay visible. */
export function stepUnder(rows: Rows, parts: readonly Region[], top: number): Region | undefined {
  const row = rows.at(top);
  if (row?.kind !== 'line') return undefined;
  return parts.findLast((part) => part.from <= row.n && part.end > part.from);
}

/** Where a log is opened: at the lines asked for, at what failed, or at the end. */
export function openAt(
  scroller: Scroller,
  rows: Rows,
  errors: readonly OutlineError[],
  { picked, failed, total }: { picked: LineRange | undefined; failed: number | undefined; total: number },
): void {
  if (picked !== undefined) {
    scroller.toRow(rows.ofLine(Math.min(picked.from - 1, total - 1)), 0.3);
    return;
  }
  if (failed !== undefined) {
    const error = errors.find((e) => e.step === failed);
    const heading = rows.ofStep(failed);
    if (error !== undefined) {
      scroller.toRow(rows.ofLine(error.line), 0.4);
      return;
    }
    if (heading !== undefined) {
      const step = rows.at(heading);
      const lines = step?.kind === 'step' ? step.lines : 0;
      // Short output is shown from its heading on, long output at its end, where the reason stands.
      const last = heading + Math.min(lines, rows.count - heading - 1);
      if (lines < 15) scroller.toRow(heading, 0.05);
      else scroller.toRow(last, 0.85);
      return;
    }
  }
  scroller.toEnd();
}

/** Copies the text of lines; says how many there were. */
export async function copyLines(source: LogSource, range: LineRange): Promise<number> {
  if (range.to - range.from + 1 > COPIED) {
    throw new Error(`at most ${COPIED} lines can be copied; download the log instead`);
  }
  const texts: string[] = [];
  let from = range.from - 1;
  while (from < range.to) {
    const page = await source.lines(from, Math.min(2_000, range.to - from));
    if (page.lines.length === 0) break;
    for (const line of page.lines) texts.push(parseLine(line.text).text);
    from += page.lines.length;
  }
  await copyText(`${texts.join('\n')}\n`);
  return texts.length;
}
