/** The legs of a matrix as a grid. Pure. */
import type { JobView } from '../../api/types';

/** A grid: one axis is the columns, the others together are the rows. */
export interface Grid {
  /** Name of the column axis; empty if there is none. */
  readonly across: string;
  /** Names of the row axes. */
  readonly down: readonly string[];
  readonly columns: readonly string[];
  readonly rows: readonly { readonly title: string; readonly cells: readonly (JobView | null)[] }[];
}

/** A value of a matrix in words. */
export function wordsOf(value: unknown): string {
  if (typeof value === 'string') return value;
  if (value === undefined) return '–';
  return JSON.stringify(value);
}

/** The grid of the legs of one node; `null` if they have no matrix. */
export function gridOf(legs: readonly JobView[]): Grid | null {
  const values = legs.map((leg) => leg.matrix);
  if (legs.length < 2 || !values.every(isRecord)) return null;
  const axes = [...new Set(values.flatMap((value) => Object.keys(value)))].map((name) => ({
    name,
    values: [...new Set(values.map((value) => wordsOf(value[name])))],
  }));
  const varied = axes.filter((axis) => axis.values.length > 1);
  if (varied.length === 0) return null;
  // The shortest axis that still says something is read best from left to right.
  const across = varied.length === 1 ? undefined : [...varied].sort((a, b) => a.values.length - b.values.length)[0];
  const down = varied.filter((axis) => axis !== across).map((axis) => axis.name);
  const columns = across ? across.values : [''];
  const rows = new Map<string, (JobView | null)[]>();
  legs.forEach((leg, index) => {
    const value = values[index] ?? {};
    const title = down.map((name) => wordsOf(value[name])).join(' · ');
    const cells = rows.get(title) ?? columns.map(() => null);
    const column = across ? columns.indexOf(wordsOf(value[across.name])) : 0;
    // Legs that `include` made may share a place: none of them may vanish.
    if (cells[column]) rows.set(`${title} · ${leg.name}`, columns.map((_, at) => (at === column ? leg : null)));
    else {
      cells[column] = leg;
      rows.set(title, cells);
    }
  });
  return { across: across?.name ?? '', down, columns, rows: [...rows].map(([title, cells]) => ({ title, cells })) };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
