/**
 * Short messages at the edge of the page: what was done, or what went wrong and
 * what to do about it. Errors stay until they are closed; the rest goes by itself.
 */
import { useEffect, useState, useSyncExternalStore } from 'react';
import { asApiError } from '../api/problem';
import { Icon } from './Icon';
import './toasts.css';

interface Toast {
  readonly id: number;
  readonly tone: 'ok' | 'bad';
  readonly title: string;
  readonly hint?: string | undefined;
}

const SHOWN_MS = 5_000;
let toasts: readonly Toast[] = [];
let count = 0;
const listeners = new Set<() => void>();

function publish(next: readonly Toast[]): void {
  toasts = next;
  for (const listener of listeners) listener();
}

function add(toast: Omit<Toast, 'id'>): void {
  publish([...toasts.slice(-3), { ...toast, id: ++count }]);
}

/** Says that something was done. */
export function say(title: string, hint?: string): void {
  add({ tone: 'ok', title, hint });
}

/** Says what went wrong, with the hint of the server. `what` names the attempt: "Cancelling". */
export function complain(thrown: unknown, what?: string): void {
  const error = asApiError(thrown);
  add({ tone: 'bad', title: what ? `${what} failed. ${error.message}` : error.message, hint: error.hint });
}

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Where the messages appear; once, in the shell. */
export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => toasts);
  return (
    <section className="toasts" aria-label="Messages" aria-live="polite">
      {shown.map((toast) => (
        <ToastCard key={toast.id} toast={toast} />
      ))}
    </section>
  );
}

function ToastCard({ toast }: { toast: Toast }) {
  const close = (): void => publish(toasts.filter((other) => other.id !== toast.id));
  const [held, setHeld] = useState(false);
  useEffect(() => {
    if (toast.tone === 'bad' || held) return undefined;
    const timer = setTimeout(close, SHOWN_MS);
    return () => clearTimeout(timer);
  });
  return (
    <div
      className="toast"
      role={toast.tone === 'bad' ? 'alert' : 'status'}
      onMouseEnter={() => setHeld(true)}
      onMouseLeave={() => setHeld(false)}
    >
      <Icon name={toast.tone === 'bad' ? 'alert' : 'check'} className={`tone-${toast.tone}`} />
      <div className="grow">
        <p>{toast.title}</p>
        {toast.hint && <p className="muted">{toast.hint}</p>}
      </div>
      <button type="button" className="button ghost small icon-only" onClick={close} aria-label="Close message">
        <Icon name="cross" />
      </button>
    </div>
  );
}
