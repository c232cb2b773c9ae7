/** The timeline of a run: when each job waited, was set up and ran its steps. Pure. */
import type { JobView, StepReport } from '../../api/types';
import { millis } from '../../lib/time';

/** One stretch of time of a job. */
export interface Stretch {
  readonly kind: 'waiting' | 'set-up' | 'step' | 'running';
  readonly from: number;
  readonly to: number;
  /** The step, of a stretch that is one. */
  readonly step?: StepReport;
}

/** One row. */
export interface TimelineRow {
  readonly job: JobView;
  readonly stretches: readonly Stretch[];
}

/** Rows under one heading. */
export interface TimelineGroup {
  readonly title: string;
  readonly rows: readonly TimelineRow[];
}

/** The stretches of a job until `now`. */
export function stretchesOf(job: JobView, now: number): Stretch[] {
  const all: Stretch[] = [];
  const end = millis(job.finished_at) ?? now;
  const queued = millis(job.queued_at);
  const leased = millis(job.started_at);
  if (queued !== null) add(all, { kind: 'waiting', from: queued, to: leased ?? end });
  if (leased === null) return all;
  const steps = (job.steps ?? []).filter((step) => millis(step.started_at) !== null);
  const first = steps.reduce((least, step) => Math.min(least, millis(step.started_at) ?? least), Number.POSITIVE_INFINITY);
  if (!Number.isFinite(first)) {
    // An ended job without steps never came further than its set-up.
    add(all, { kind: 'set-up', from: leased, to: end });
    return all;
  }
  add(all, { kind: 'set-up', from: leased, to: first });
  let last = first;
  for (const step of steps) {
    const to = millis(step.finished_at) ?? end;
    add(all, { kind: 'step', from: millis(step.started_at) ?? last, to, step });
    last = Math.max(last, to);
  }
  add(all, { kind: 'running', from: last, to: end });
  return all;
}

/** Jobs that came to a queue, by node or by runner. */
export function groupsOf(jobs: readonly JobView[], by: 'job' | 'runner', now: number): TimelineGroup[] {
  const groups = new Map<string, TimelineRow[]>();
  for (const job of jobs) {
    if (by === 'runner' && job.started_at == null) continue;
    const title = by === 'runner' ? (job.runner_name ?? `runner ${job.runner ?? '?'}`) : '';
    const row = { job, stretches: stretchesOf(job, now) };
    const rows = groups.get(title);
    if (rows) rows.push(row);
    else groups.set(title, [row]);
  }
  if (by === 'runner') {
    const start = (row: TimelineRow): number => millis(row.job.started_at) ?? 0;
    for (const rows of groups.values()) rows.sort((a, b) => start(a) - start(b));
  }
  return [...groups].map(([title, rows]) => ({ title, rows }));
}

/** From when to when the rows go; `null` if nothing happened yet. */
export function spanOf(groups: readonly TimelineGroup[]): { from: number; to: number } | null {
  let from = Number.POSITIVE_INFINITY;
  let to = Number.NEGATIVE_INFINITY;
  for (const group of groups) {
    for (const row of group.rows) {
      for (const stretch of row.stretches) {
        from = Math.min(from, stretch.from);
        to = Math.max(to, stretch.to);
      }
    }
  }
  return Number.isFinite(from) ? { from, to: Math.max(to, from + 1) } : null;
}

const STEPS_MS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 144e5, 288e5, 864e5];

/** Round lengths of time for the marks of an axis, at most `count` of them. */
export function marksOf(length: number, count: number): number[] {
  const step = STEPS_MS.find((each) => length / each <= count) ?? Math.ceil(length / count / 864e5) * 864e5;
  const marks: number[] = [];
  for (let at = 0; at <= length; at += step) marks.push(at);
  return marks;
}

function add(all: Stretch[], stretch: Stretch): void {
  if (stretch.to > stretch.from) all.push(stretch);
}
