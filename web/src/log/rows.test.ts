import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { extend, EMPTY } from './outline';
import { buildRows, type FoldRules, NO_FOLDS, reveal, type Row, type Rows } from './rows';
import type { LogLine, Outline, OutlineGroup } from './wire';

const ALL_OPEN: FoldRules = { stepOpen: () => true, groupOpen: () => true };
const GROUPS_CLOSED: FoldRules = { stepOpen: () => true, groupOpen: () => false };

function outline(steps: [number, number, number][], groups: [number, number | null][] = []): Outline {
  return {
    ...EMPTY,
    steps: steps.map(([index, first_line, last_line]) => ({ index, first_line, last_line })),
    groups: groups.map(([from, to]) => ({ from, to, title: `g${from}`, step: 0 })),
  };
}

function drawn(rows: Rows): string {
  const name = (row: Row | undefined): string => {
    if (row === undefined) return '?';
    if (row.kind === 'step') return `${row.open ? 'v' : '>'}step${row.step}(${row.lines})`;
    return `${'.'.repeat(row.depth)}${row.group === undefined ? '' : row.open === true ? 'v' : '>'}${row.n}`;
  };
  return Array.from({ length: rows.count }, (_, i) => name(rows.at(i))).join(' ');
}

describe('rows', () => {
  it('of steps and lines', () => {
    const rows = buildRows(outline([[0, 0, 2], [1, 3, 4]]), 5, [0, 1], NO_FOLDS, ALL_OPEN);
    expect(drawn(rows)).toBe('vstep0(3) 0 1 2 vstep1(2) 3 4');
    expect(rows.ofLine(3)).toBe(5);
    expect(rows.ofStep(1)).toBe(4);
  });

  it('of steps that are closed, and of steps without output', () => {
    const rules: FoldRules = { stepOpen: (i) => i === 2, groupOpen: () => true };
    const rows = buildRows(outline([[0, 0, 2], [2, 3, 4]]), 5, [0, 1, 2, 3], NO_FOLDS, rules);
    expect(drawn(rows)).toBe('>step0(3) >step1(0) vstep2(2) 3 4 vstep3(0)'.replace('vstep3', '>step3'));
    expect(rows.ofLine(1)).toBe(0);
    expect(rows.shows(1)).toBe(false);
    expect(rows.shows(3)).toBe(true);
  });

  it('of groups in groups', () => {
    const log = outline([[0, 0, 9]], [[1, 7], [3, 5]]);
    expect(drawn(buildRows(log, 10, [0], NO_FOLDS, ALL_OPEN))).toBe('vstep0(10) 0 v1 .2 .v3 ..4 ..5 .6 .7 8 9');
    expect(drawn(buildRows(log, 10, [0], NO_FOLDS, GROUPS_CLOSED))).toBe('vstep0(10) 0 >1 8 9');
    const inner = { ...NO_FOLDS, groups: new Map([[1, true]]) };
    expect(drawn(buildRows(log, 10, [0], inner, GROUPS_CLOSED))).toBe('vstep0(10) 0 v1 .2 .>3 .6 .7 8 9');
  });

  it('of a group that is still open', () => {
    const log = outline([[0, 0, 4]], [[2, null]]);
    expect(drawn(buildRows(log, 5, [0], NO_FOLDS, ALL_OPEN))).toBe('vstep0(5) 0 1 v2 .3 .4');
  });

  it('shows a line that was asked for, and closes nothing', () => {
    const log = outline([[0, 0, 9], [1, 10, 11]], [[1, 7], [3, 5]]);
    const rules: FoldRules = { stepOpen: () => false, groupOpen: () => false };
    expect(buildRows(log, 12, [0, 1], NO_FOLDS, rules).shows(4)).toBe(false);
    const folds = reveal(NO_FOLDS, log, 12, 4);
    expect(drawn(buildRows(log, 12, [0, 1], folds, rules))).toBe('vstep0(10) 0 v1 .2 .v3 ..4 ..5 .6 .7 8 9 >step1(2)');
  });

  it('finds every row and every line of any log', () => {
    const cut = fc.integer({ min: 0, max: 59 });
    const group = fc.tuple(cut, fc.option(cut)).map(([a, b]): OutlineGroup => ({
      from: b === null ? a : Math.min(a, b),
      to: b === null ? null : Math.max(a, b),
      title: '',
      step: 0,
    }));
    fc.assert(
      fc.property(
        fc.uniqueArray(cut, { maxLength: 6 }),
        fc.uniqueArray(group, { maxLength: 10, selector: (g) => g.from }),
        fc.func(fc.boolean()),
        fc.func(fc.boolean()),
        (starts, groups, stepOpen, groupOpen) => {
          const sorted = [...starts].sort((a, b) => a - b);
          const log: Outline = {
            ...EMPTY,
            steps: sorted.map((first_line, index) => ({ index, first_line, last_line: first_line })),
            groups,
          };
          const rules: FoldRules = { stepOpen: (i) => stepOpen(i), groupOpen: (g) => groupOpen(g.from) };
          const rows = buildRows(log, 60, [0, 1, 2], NO_FOLDS, rules);
          let last = -1;
          for (let i = 0; i < rows.count; i += 1) {
            const row = rows.at(i);
            if (row?.kind !== 'line') continue;
            expect(row.n).toBeGreaterThan(last);
            last = row.n;
            expect(rows.ofLine(row.n)).toBe(i);
          }
          for (let n = 0; n < 60; n += 1) {
            const found = rows.ofLine(n);
            expect(rows.at(found)).toBeDefined();
            const folds = reveal(NO_FOLDS, log, 60, n);
            expect(buildRows(log, 60, [0, 1, 2], folds, rules).shows(n)).toBe(true);
          }
          if (sorted.length > 0) {
            const all = buildRows(log, 60, [], NO_FOLDS, ALL_OPEN);
            expect(all.count).toBe(60 + sorted.length);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('of millions of lines are found at once', () => {
    const groups = Array.from({ length: 20_000 }, (_, i): [number, number] => [i * 600, i * 600 + 300]);
    const rows = buildRows(outline([[0, 0, 12_999_999]], groups), 13_000_000, [0], NO_FOLDS, GROUPS_CLOSED);
    const began = performance.now();
    for (let i = 0; i < 10_000; i += 1) rows.ofLine((i * 1299) % 13_000_000);
    expect(performance.now() - began).toBeLessThan(500);
    expect(rows.at(rows.count - 1)).toMatchObject({ kind: 'line', n: 12_999_999 });
  });
});

describe('an outline that grows', () => {
  const line = (n: number, step: number, text: string): LogLine => ({ n, at: '', step, stream: 'stdout', text });

  it('learns steps, groups and errors from lines', () => {
    const grown = extend(EMPTY, [
      line(0, 0, '::group::Outer'),
      line(1, 0, '::group::Inner'),
      line(2, 0, '::endgroup::'),
      line(3, 1, '::error file=a.c::broken'),
      line(4, 0, '::endgroup::'),
    ]);
    expect(grown.steps).toEqual([
      { index: 0, first_line: 0, last_line: 4 },
      { index: 1, first_line: 3, last_line: 3 },
    ]);
    expect(grown.groups.map((g) => [g.from, g.to, g.title])).toEqual([[0, 4, 'Outer'], [1, 2, 'Inner']]);
    expect(grown.first_error).toBe(3);
    expect(extend(grown, [line(3, 1, '::error::again')])).toBe(grown);
  });
});
