/** Parts of the viewer's state that know little of one another: search, selection, screen, choices. */
import { type RefObject, useCallback, useEffect, useMemo, useRef, useState } from 'react';
import { complain } from '../ui/toasts';
import { pattern } from './decorate';
import { formatHash, type LineRange, parseHash } from './hash';
import { type Found, nextMatch, Search } from './search';
import type { LogSource, Query } from './wire';

/** A choice that this browser keeps. */
export function stored(key: string, fallback: string): string {
  try {
    return localStorage.getItem(`fleetfoot.log.${key}`) ?? fallback;
  } catch {
    // A browser that keeps nothing still shows the log.
    return fallback;
  }
}

/** Keeps a choice in this browser. */
export function store(key: string, value: string): void {
  try {
    localStorage.setItem(`fleetfoot.log.${key}`, value);
  } catch {
    // See above.
  }
}

/** Whether the log fills the screen, and the switch for it. */
export function useFullScreen(section: RefObject<HTMLElement | null>): [boolean, () => void] {
  const [full, setFull] = useState(false);
  useEffect(() => {
    const listen = (): void => {
      if (document.fullscreenElement === null) setFull(false);
    };
    document.addEventListener('fullscreenchange', listen);
    return () => document.removeEventListener('fullscreenchange', listen);
  }, []);
  const toggle = (): void => {
    if (full) {
      setFull(false);
      if (document.fullscreenElement !== null) void document.exitFullscreen();
      return;
    }
    setFull(true);
    // Without the right to it, the log fills the window instead.
    section.current?.requestFullscreen().catch(() => {});
  };
  return [full, toggle];
}

/** Ctrl+F (⌘F) goes to the search of the log, which knows all lines; a second press to that of the browser. */
export function useFindKey(input: RefObject<HTMLInputElement | null>, find: () => void): void {
  const latest = useRef(find);
  useEffect(() => {
    latest.current = find;
  });
  useEffect(() => {
    const listen = (event: KeyboardEvent): void => {
      if (event.key !== 'f' || !(event.ctrlKey || event.metaKey) || document.activeElement === input.current) return;
      event.preventDefault();
      latest.current();
    };
    document.addEventListener('keydown', listen);
    return () => document.removeEventListener('keydown', listen);
  }, [input]);
}

/** The lines that are selected, kept in the address of the page; `goTo` shows a line (from 0). */
export function usePicked(
  initial: LineRange | undefined,
  goTo: (line: number, share: number) => void,
): [LineRange | undefined, (next: LineRange | undefined) => void] {
  const [picked, setPicked] = useState(initial);
  const latest = useRef(picked);
  useEffect(() => {
    latest.current = picked;
  });
  useEffect(() => {
    const listen = (): void => {
      const next = parseHash(location.hash);
      const before = latest.current;
      if (next !== undefined && (before?.from !== next.from || before.to !== next.to)) goTo(next.from - 1, 0.3);
      setPicked(next);
    };
    addEventListener('hashchange', listen);
    addEventListener('popstate', listen);
    return () => {
      removeEventListener('hashchange', listen);
      removeEventListener('popstate', listen);
    };
  }, [goTo]);
  const pick = (next: LineRange | undefined): void => {
    setPicked(next);
    const address = next === undefined ? location.pathname + location.search : formatHash(next);
    history.replaceState(history.state, '', address);
  };
  return [picked, pick];
}

/** Lines by which a log must grow until what is new is searched. */
const GROWTH = 500;

/** The search of a viewer. */
export interface Searching {
  readonly found: Found | undefined;
  /** Index of the current match; -1 for none. */
  readonly current: number;
  /** What is marked in lines. */
  readonly highlight: RegExp | undefined;
  onSearch(query: Query): void;
  /** Goes to the next match, or the one before; `here` is the line (from 0) that is looked at. */
  onMatch(forward: boolean, here: number): void;
}

/** Searches a log that may grow. */
export function useSearch(
  source: LogSource,
  total: number,
  complete: boolean,
  goTo: (line: number, share?: number) => void,
): Searching {
  const [found, setFound] = useState<Found>();
  const [current, setCurrent] = useState(-1);
  const latest = useRef<Found>(undefined);
  const [search] = useState(
    () =>
      new Search(
        (query, after, limit, signal) => source.search(query, after, limit, signal),
        (next) => {
          latest.current = next;
          setFound(next);
        },
      ),
  );
  useEffect(() => () => search.stop(), [search]);
  const onSearch = useCallback(
    (query: Query): void => {
      setCurrent(-1);
      search.start(query);
    },
    [search],
  );
  const highlight = useMemo(
    () => (found === undefined ? undefined : pattern(found.query.text, found.query.regex, found.query.matchCase)),
    [found?.query.text, found?.query.regex, found?.query.matchCase],
  );
  const searching = found !== undefined;
  const grown = Math.floor(total / GROWTH);
  useEffect(() => {
    if (searching) search.grown();
  }, [search, searching, grown, complete]);

  const show = (lines: readonly number[], index: number): void => {
    const line = lines[index];
    setCurrent(index);
    if (line !== undefined) goTo(line);
  };
  const onMatch = (forward: boolean, here: number): void => {
    if (found === undefined || found.lines.length === 0) return;
    const { lines } = found;
    const at = current >= 0 ? (lines[current] ?? 0) : here - (forward ? 1 : 0);
    const next = nextMatch(lines, at, forward);
    if (!forward || next !== 0 || lines.length >= found.count) {
      show(lines, next);
      return;
    }
    search.more().then(
      (more) => show(latest.current?.lines ?? lines, more ? lines.length : 0),
      (error: unknown) => complain(error, 'Searching'),
    );
  };
  return { found, current, highlight, onSearch, onMatch };
}
