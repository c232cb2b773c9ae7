/** The theme: light, dark, or as the system says. It is kept in this browser. */
import { useSyncExternalStore } from 'react';

/** A choice of theme. */
export type Theme = 'system' | 'light' | 'dark';

const KEY = 'fleetfoot.theme';
const listeners = new Set<() => void>();

function stored(): Theme {
  try {
    const value = localStorage.getItem(KEY);
    return value === 'light' || value === 'dark' ? value : 'system';
  } catch {
    // A browser that keeps nothing still shows something.
    return 'system';
  }
}

let current: Theme = stored();

function show(): void {
  if (current === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = current;
}

/** Shows the kept theme; called once, before anything is drawn. */
export function startTheme(): void {
  show();
}

/** Changes the theme and keeps it. */
export function setTheme(theme: Theme): void {
  current = theme;
  try {
    localStorage.setItem(KEY, theme);
  } catch {
    // See above.
  }
  show();
  for (const listener of listeners) listener();
}

/** The chosen theme. */
export function useTheme(): Theme {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => current,
  );
}
