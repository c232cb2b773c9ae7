/** Where something stands or how it ended: always icon, colour and word. */
import type { Conclusion, Status as ApiStatus } from '../api/types';
import type { PageState } from '../lib/title';
import { Icon, type IconName } from './Icon';

/** What a status means, for every place that shows one. */
export interface Standing {
  readonly word: string;
  readonly icon: IconName;
  readonly tone: 'ok' | 'bad' | 'busy' | 'wait' | 'quiet';
  readonly page: PageState;
  readonly spins?: boolean;
  /** It ended: the icon is a filled disc. */
  readonly filled?: boolean;
}

const ENDED: Record<Conclusion, Standing> = {
  success: { word: 'Succeeded', icon: 'check', tone: 'ok', page: 'success', filled: true },
  failure: { word: 'Failed', icon: 'cross', tone: 'bad', page: 'failure', filled: true },
  cancelled: { word: 'Cancelled', icon: 'minus', tone: 'quiet', page: 'cancelled', filled: true },
  skipped: { word: 'Skipped', icon: 'slash', tone: 'quiet', page: 'cancelled', filled: true },
  timed_out: { word: 'Timed out', icon: 'hand', tone: 'bad', page: 'failure', filled: true },
};

const OPEN: Record<Exclude<ApiStatus, 'completed'>, Standing> = {
  waiting: { word: 'Waiting', icon: 'clock', tone: 'quiet', page: 'waiting' },
  queued: { word: 'Queued', icon: 'ring', tone: 'wait', page: 'waiting' },
  running: { word: 'Running', icon: 'arc', tone: 'busy', page: 'running', spins: true },
};

/** The standing of a run, a job or a step. */
export function standing(thing: { status: ApiStatus; conclusion?: Conclusion | null | undefined; cancel_requested?: boolean | undefined }): Standing {
  if (thing.status === 'completed') return ENDED[thing.conclusion ?? 'success'];
  if (thing.cancel_requested) return { ...OPEN.running, word: 'Cancelling', tone: 'quiet' };
  return OPEN[thing.status];
}

/** The standing of what waits for somebody's word. */
export function awaiting(is: Standing): Standing {
  return { ...is, word: 'Waiting for approval', icon: 'pause', tone: 'wait', page: 'waiting' };
}

/** The icon alone, with the word for screen readers unless it stands beside it. */
export function StatusIcon({ of, silent }: { of: Standing; silent?: boolean }) {
  return (
    <span className={`status-icon tone-${of.tone}${of.filled ? ' filled' : ''}`} {...(silent ? { 'aria-hidden': true } : { role: 'img', 'aria-label': of.word })}>
      <Icon name={of.icon} {...(of.spins ? { className: 'spin' } : {})} />
    </span>
  );
}

/** Icon and word. */
export function StatusWord({ of }: { of: Standing }) {
  return (
    <span className={`status tone-${of.tone}`}>
      <StatusIcon of={of} silent />
      {of.word}
    </span>
  );
}
