/** Times of lines as people read them: of the day, or since the log began. Pure. */

/** How times are shown. */
export type TimeMode = 'off' | 'absolute' | 'relative';

/** The mode that follows, for a key that goes through them. */
export function nextMode(mode: TimeMode): TimeMode {
  return mode === 'off' ? 'absolute' : mode === 'absolute' ? 'relative' : 'off';
}

const two = (n: number): string => String(n).padStart(2, '0');

/** A time in a mode; `began` is when the log began, milliseconds since the epoch. */
export function showTime(at: string, mode: TimeMode, began: number | undefined): string {
  const moment = Date.parse(at);
  if (Number.isNaN(moment) || mode === 'off') return '';
  if (mode === 'relative' && began !== undefined) return since(moment - began);
  const date = new Date(moment);
  const milliseconds = String(date.getMilliseconds()).padStart(3, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${milliseconds}`;
}

/** A span of milliseconds: `0.123`, `1:02.500`, `2:03:04.000`. */
export function since(span: number): string {
  const sign = span < 0 ? '-' : '';
  const whole = Math.abs(Math.round(span));
  const hours = Math.floor(whole / 3_600_000);
  const minutes = Math.floor(whole / 60_000) % 60;
  const seconds = Math.floor(whole / 1000) % 60;
  const rest = String(whole % 1000).padStart(3, '0');
  const short = hours > 0 || minutes > 0 ? `${two(seconds)}.${rest}` : `${seconds}.${rest}`;
  return `${sign}${hours > 0 ? `${hours}:${two(minutes)}:` : minutes > 0 ? `${minutes}:` : '+'}${short}`;
}

/** A length of time in words: `850 ms`, `12.3 s`, `4 m 05 s`. */
export function lasted(span: number): string {
  if (span < 1000) return `${Math.max(0, Math.round(span))} ms`;
  if (span < 60_000) return `${(span / 1000).toFixed(1)} s`;
  const minutes = Math.floor(span / 60_000);
  if (minutes < 60) return `${minutes} m ${two(Math.floor(span / 1000) % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} m`;
}

/** A number with spaces between thousands, the same in every language. */
export function many(n: number): string {
  return String(n).replace(/\B(?=(\d{3})+$)/g, '\u202f');
}

/** Bytes as people read them. */
export function bytes(n: number): string {
  if (n < 1024) return `${n} B`;
  if (n < 1 << 20) return `${(n / 1024).toFixed(1)} KiB`;
  if (n < 1 << 30) return `${(n / (1 << 20)).toFixed(1)} MiB`;
  return `${(n / (1 << 30)).toFixed(2)} GiB`;
}
