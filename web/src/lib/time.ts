/** Times as people read them. All of it is pure but {@link useNow}. */
import { useSyncExternalStore } from 'react';

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
const day = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const dayOfYear = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', year: 'numeric' });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });

/** Milliseconds since the epoch of a timestamp of the API; `null` for none. */
export function millis(timestamp: string | null | undefined): number | null {
  if (timestamp == null) return null;
  const at = Date.parse(timestamp);
  return Number.isNaN(at) ? null : at;
}

/** A length of time in at most two units: `480 ms`, `12 s`, `3 m 05 s`, `2 h 10 m`, `4 d 3 h`. */
export function duration(ms: number): string {
  if (ms < 0) return duration(0);
  if (ms < SECOND) return `${Math.round(ms)} ms`;
  if (ms < 10 * SECOND) return `${(ms / SECOND).toFixed(1)} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return `${Math.floor(ms / MINUTE)} m ${two(Math.floor((ms % MINUTE) / SECOND))} s`;
  if (ms < DAY) return `${Math.floor(ms / HOUR)} h ${two(Math.floor((ms % HOUR) / MINUTE))} m`;
  return `${Math.floor(ms / DAY)} d ${Math.floor((ms % DAY) / HOUR)} h`;
}

/** A moment seen from `now`: `now`, `12 sec. ago`, `3 hr. ago`, a date after a week. */
export function ago(at: number, now: number): string {
  const past = now - at;
  const sign = past < 0 ? 1 : -1;
  const distance = Math.abs(past);
  if (distance < 10 * SECOND) return 'just now';
  if (distance < MINUTE) return relative.format(sign * Math.round(distance / SECOND), 'second');
  if (distance < HOUR) return relative.format(sign * Math.round(distance / MINUTE), 'minute');
  if (distance < DAY) return relative.format(sign * Math.round(distance / HOUR), 'hour');
  if (distance < 7 * DAY) return relative.format(sign * Math.round(distance / DAY), 'day');
  return distance < 300 * DAY ? day.format(at) : dayOfYear.format(at);
}

/** Date and time to the second, in the time zone of the browser. */
export function exactly(at: number): string {
  return full.format(at);
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}

let now = Date.now();
let timer: ReturnType<typeof setInterval> | undefined;
const listeners = new Set<() => void>();

function tick(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const each of listeners) each();
  }, SECOND);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

/** The present, renewed every second; all callers share one timer. */
export function useNow(): number {
  return useSyncExternalStore(tick, () => {
    // A first reader after a pause must not see the moment when the last one left.
    if (listeners.size === 0) now = Math.floor(Date.now() / SECOND) * SECOND;
    return now;
  });
}
