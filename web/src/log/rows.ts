/**
 * What the viewer shows, from top to bottom: headings of steps and lines, without what is
 * folded. Millions of lines are a few spans, so that any row is found in a few steps. Pure.
 */
import type { Outline, OutlineGroup } from './wire';

/** The heading of a step. */
export interface StepRow {
  readonly kind: 'step';
  readonly step: number;
  readonly open: boolean;
  /** How many lines it has. */
  readonly lines: number;
}

/** A line. */
export interface LineRow {
  readonly kind: 'line';
  readonly n: number;
  /** How deep in groups it lies. */
  readonly depth: number;
  /** It is the title of this group. */
  readonly group?: OutlineGroup;
  /** Whether that group is open. */
  readonly open?: boolean;
}

/** One row. */
export type Row = StepRow | LineRow;

/** What is folded: only what differs from the rules. */
export interface Folds {
  /** By index of the step: open or not. */
  readonly steps: ReadonlyMap<number, boolean>;
  /** By first line of the group: open or not. */
  readonly groups: ReadonlyMap<number, boolean>;
}

/** Nothing differs. */
export const NO_FOLDS: Folds = { steps: new Map(), groups: new Map() };

/** The rules for what is open when nobody said anything. */
export interface FoldRules {
  /** Whether a step is open. */
  stepOpen(index: number): boolean;
  /** Whether a group is open. */
  groupOpen(group: OutlineGroup): boolean;
}

interface Span {
  /** Index of its first row. */
  readonly row: number;
  readonly count: number;
  /** First line; the heading of a step has none. */
  readonly line: number;
  readonly depth: number;
  readonly step?: StepRow;
  readonly group?: OutlineGroup;
  readonly open?: boolean;
}

/** All rows. */
export class Rows {
  /** How many there are. */
  readonly count: number;
  private readonly spans: readonly Span[];

  constructor(spans: readonly Span[]) {
    this.spans = spans;
    const last = spans.at(-1);
    this.count = last === undefined ? 0 : last.row + last.count;
  }

  /** The row at `index`. */
  at(index: number): Row | undefined {
    if (index < 0 || index >= this.count) return undefined;
    const span = this.spans[this.find((s) => s.row <= index)];
    if (span === undefined) return undefined;
    if (span.step !== undefined) return span.step;
    const n = span.line + (index - span.row);
    return span.group === undefined
      ? { kind: 'line', n, depth: span.depth }
      : { kind: 'line', n, depth: span.depth, group: span.group, open: span.open ?? true };
  }

  /** The row that shows `line`, or the one under which it is folded. */
  ofLine(line: number): number {
    // Headings carry the line that follows them, so that the order by line holds.
    const found = this.find((s) => s.line <= line);
    const span = this.spans[found];
    if (span === undefined) return 0;
    if (span.step !== undefined) return span.row;
    return span.row + Math.min(line - span.line, span.count - 1);
  }

  /** Whether `line` has a row of its own. */
  shows(line: number): boolean {
    const row = this.at(this.ofLine(line));
    return row?.kind === 'line' && row.n === line;
  }

  /** Index of the heading of a step. */
  ofStep(step: number): number | undefined {
    return this.spans.find((s) => s.step?.step === step)?.row;
  }

  /** The last span for which `holds`, given that it holds for a beginning of the list. */
  private find(holds: (span: Span) => boolean): number {
    let low = 0;
    let high = this.spans.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const span = this.spans[middle];
      if (span !== undefined && holds(span)) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low - 1;
  }
}

/** A stretch of the log that stands under one heading. */
export interface Region {
  readonly step: number;
  readonly from: number;
  /** Behind its last line. */
  readonly end: number;
}

/**
 * The stretches under the headings, in order. Steps that run at the same time write into
 * one another's stretch: a stretch goes on until the next step begins. `known` are the
 * steps of the job, also those without output.
 */
export function regions(outline: Outline, total: number, known: readonly number[]): Region[] {
  const steps = [...outline.steps].sort((a, b) => a.first_line - b.first_line || a.index - b.index);
  const list: Region[] = steps.map((step, i) => ({
    step: step.index,
    from: i === 0 ? 0 : step.first_line,
    end: steps[i + 1]?.first_line ?? Math.max(total, step.first_line),
  }));
  if (list.length === 0 && total > 0) return [];
  const written = new Set(steps.map((step) => step.index));
  for (const step of [...known].sort((a, b) => a - b)) {
    if (written.has(step)) continue;
    let at = 0;
    list.forEach((region, i) => {
      if (region.step < step) {
        at = i + 1;
      }
    });
    const line = list[at]?.from ?? total;
    list.splice(at, 0, { step, from: line, end: line });
  }
  return list;
}

/** The rows of a log. */
export function buildRows(
  outline: Outline,
  total: number,
  known: readonly number[],
  folds: Folds,
  rules: FoldRules,
): Rows {
  const spans = new Builder();
  const groups = [...outline.groups].sort((a, b) => a.from - b.from || (b.to ?? total) - (a.to ?? total));
  const parts = regions(outline, total, known);
  if (parts.length === 0 && total > 0) {
    spans.lines(0, total, 0);
  }
  let next = 0;
  for (const part of parts) {
    const open = folds.steps.get(part.step) ?? rules.stepOpen(part.step);
    spans.step({ kind: 'step', step: part.step, open, lines: part.end - part.from }, part.from);
    while (next < groups.length && (groups[next]?.from ?? 0) < part.from) {
      next += 1;
    }
    if (!open) continue;
    let line = part.from;
    const ends: number[] = [];
    // A stack of the groups around `line`; each pop and push ends a span.
    const leave = (until: number): void => {
      while (ends.length > 0 && (ends.at(-1) ?? 0) <= until) {
        const end = Math.min(ends.pop() ?? 0, part.end);
        spans.lines(line, end, ends.length + 1);
        line = Math.max(line, end);
      }
    };
    for (; next < groups.length; next += 1) {
      const group = groups[next];
      if (group === undefined || group.from >= part.end) break;
      if (group.from < line) continue;
      leave(group.from);
      spans.lines(line, group.from, ends.length);
      const groupOpen = folds.groups.get(group.from) ?? rules.groupOpen(group);
      spans.group(group, ends.length, groupOpen);
      const end = Math.min((group.to ?? total - 1) + 1, part.end);
      if (groupOpen) {
        line = group.from + 1;
        ends.push(end);
      } else {
        line = Math.max(group.from + 1, end);
      }
    }
    leave(Number.MAX_SAFE_INTEGER);
    spans.lines(line, part.end, 0);
  }
  return new Rows(spans.list);
}

class Builder {
  readonly list: Span[] = [];
  private row = 0;

  lines(from: number, end: number, depth: number): void {
    if (end > from) {
      this.push({ row: this.row, count: end - from, line: from, depth });
    }
  }

  group(group: OutlineGroup, depth: number, open: boolean): void {
    this.push({ row: this.row, count: 1, line: group.from, depth, group, open });
  }

  step(step: StepRow, line: number): void {
    this.push({ row: this.row, count: 1, line, depth: 0, step });
  }

  private push(span: Span): void {
    this.list.push(span);
    this.row += span.count;
  }
}

/** What must be opened so that `line` is shown: folds with its step and groups open. */
export function reveal(folds: Folds, outline: Outline, total: number, line: number): Folds {
  const part = regions(outline, total, []).find((r) => line >= r.from && line < r.end);
  const around = outline.groups.filter((g) => g.from < line && line <= (g.to ?? total));
  if (part === undefined && around.length === 0) return folds;
  const steps = new Map(folds.steps);
  const groups = new Map(folds.groups);
  if (part !== undefined) {
    steps.set(part.step, true);
  }
  for (const group of around) {
    groups.set(group.from, true);
  }
  return { steps, groups };
}
