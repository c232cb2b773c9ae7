/**
 * How a log is looked at: what is folded, which rows are drawn, what is followed, and how one
 * gets to a line. What the log is stays in the model; where rows are stays with the scroller.
 */
import { type RefObject, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from 'react';
import { flushSync } from 'react-dom';
import type { StepReport } from '../api/types';
import type { LineRange } from './hash';
import { store, stored } from './hooks';
import { linesOf, moved, openAt, stepUnder } from './look';
import type { LogModel, Snapshot } from './model';
import { buildRows, type Folds, type FoldRules, NO_FOLDS, type Region, regions, reveal, type Rows } from './rows';
import { type Range, Scroller } from './scroller';
import { nextMode, type TimeMode } from './times';
import type { Outline, OutlineGroup } from './wire';

/** With what a log was opened: nothing folds under somebody's eyes when the log grows or ends. */
export interface Opening {
  /** Its lines at that moment. */
  readonly total: number;
  /** The step that had failed by then. */
  readonly failed: number | undefined;
  /** The lines that were asked for. */
  readonly picked: LineRange | undefined;
}

/** The rows of a log, and what of it is folded. */
export interface Folding {
  readonly rows: Rows;
  /** The step in whose lines a row is. */
  under(row: number): Region | undefined;
  change(change: (before: Folds) => Folds): void;
}

/** Errors that open the groups around them, at most. */
const OPENING_ERRORS = 50;

function rulesOf(opening: Opening, outline: Outline): FoldRules {
  const errors = new Set(outline.errors.slice(0, OPENING_ERRORS).map((e) => e.line));
  if (outline.first_error !== null) errors.add(outline.first_error);
  const holdsError = (group: OutlineGroup): boolean =>
    [...errors].some((line) => line > group.from && group.to !== null && line <= group.to);
  return {
    stepOpen: (index) => opening.failed === undefined || index === opening.failed,
    groupOpen: (group) => group.to === null || group.from >= opening.total || holdsError(group),
  };
}

/** The rows of a log as steps and groups fold them. */
export function useFolding({ outline, total }: Snapshot, steps: readonly StepReport[], opening: Opening): Folding {
  const [folds, change] = useState<Folds>(() =>
    opening.picked === undefined ? NO_FOLDS : reveal(NO_FOLDS, outline, total, opening.picked.from - 1),
  );
  const rules = useMemo(() => rulesOf(opening, outline), [opening, outline.errors, outline.first_error]);
  const known = useMemo(() => steps.map((step) => step.index), [steps]);
  const rows = useMemo(() => buildRows(outline, total, known, folds, rules), [outline, total, known, folds, rules]);
  const parts = useMemo(() => regions(outline, total, known), [outline, total, known]);
  return { rows, under: (row) => stepUnder(rows, parts, row), change };
}

/** The elements of a log on a page. */
export interface Elements {
  readonly section: RefObject<HTMLElement | null>;
  readonly outer: RefObject<HTMLDivElement | null>;
  readonly spacer: RefObject<HTMLDivElement | null>;
  readonly inner: RefObject<HTMLDivElement | null>;
}

/** The scroller of a log, and which rows it wants drawn. */
function useScroller(elements: Elements, rows: Rows, setFollow: (follow: boolean) => void): { scroller: Scroller; shown: Range; top: number } {
  const [top, setTop] = useState(0);
  const [range, setRange] = useState<Range>({ first: 0, end: 0 });
  const [scroller] = useState(
    () =>
      new Scroller({
        draw: (next, now) => {
          if (now) flushSync(() => setRange(next));
          else setRange(next);
        },
        moved: (end, up) => {
          if (up) setFollow(false);
          else if (end) setFollow(true);
        },
        top: (row) => setTop(row),
      }),
  );
  useLayoutEffect(() => {
    const { outer, spacer, inner } = elements;
    if (outer.current === null || spacer.current === null || inner.current === null) return undefined;
    return scroller.attach(outer.current, spacer.current, inner.current);
  }, [scroller]);
  const shown = useMemo<Range>(() => ({ first: range.first, end: Math.min(range.end, rows.count) }), [range, rows]);
  return { scroller, shown, top };
}

/** What is looked at, and how to look at something else. */
export interface Viewing extends Elements {
  /** Rows that are drawn. */
  readonly shown: Range;
  /** The row at the top. */
  readonly top: number;
  readonly follow: boolean;
  setFollow(follow: boolean): void;
  /** Goes to a line (from 0): `share` of the height below the edge, or only if it is not in sight. */
  goTo(line: number, share?: number): void;
  /** Puts a row at the top. */
  toRow(row: number): void;
  toEnd(): void;
  /** Keeps a row where it is while others change. */
  hold(row: number): void;
}

/** A line to go to. */
interface Goal {
  readonly line: number;
  readonly share: number | undefined;
}

/**
 * Keeps what is looked at where it is when rows change; `open` is called when there are rows for
 * the first time. Answers how to go to a line: `reveal` unfolds it if it is hidden.
 */
function usePlace(scroller: Scroller, rows: Rows, follow: boolean, open: () => void): (goal: Goal, reveal: () => void) => void {
  const latest = useRef(rows);
  const goal = useRef<Goal>(undefined);
  const opened = useRef(false);
  const look = useCallback(
    ({ line, share }: Goal): void => {
      const row = latest.current.ofLine(line);
      if (share === undefined) scroller.ensureRow(row);
      else scroller.toRow(row, share);
    },
    [scroller],
  );
  useLayoutEffect(() => {
    const before = latest.current;
    latest.current = rows;
    scroller.setRows(rows.count, before === rows ? undefined : (row) => moved(before, rows, row));
    if (!opened.current) {
      opened.current = true;
      open();
    } else if (goal.current !== undefined) {
      look(goal.current);
      goal.current = undefined;
    } else if (follow) {
      scroller.toEnd();
    }
  }, [rows]);
  return useCallback(
    (next, reveal) => {
      if (latest.current.shows(next.line)) {
        look(next);
        return;
      }
      goal.current = next;
      reveal();
    },
    [look],
  );
}

/** The view of a log. */
export function useViewing(model: LogModel, { rows, change }: Folding, opening: Opening, live: boolean): Viewing {
  const [follow, setFollow] = useState(() => live && opening.picked === undefined);
  const [elements] = useState<Elements>(() => ({ section: { current: null }, outer: { current: null }, spacer: { current: null }, inner: { current: null } }));
  const { scroller, shown, top } = useScroller(elements, rows, setFollow);
  const go = usePlace(scroller, rows, follow, () => {
    // On a page with other things above, lines of the address are what one came for.
    if (opening.picked !== undefined) elements.section.current?.scrollIntoView({ block: 'start' });
    openAt(scroller, rows, model.snapshot().outline.errors, opening);
  });
  useLayoutEffect(() => {
    if (follow) scroller.toEnd();
  }, [follow, scroller]);
  useLayoutEffect(() => {
    scroller.drawn(shown);
  });
  useEffect(() => {
    const [from, to] = linesOf(rows, shown);
    if (to >= from) model.cache.want(from, to);
  }, [model, rows, shown]);
  const goTo = useCallback(
    (line: number, share?: number): void => {
      setFollow(false);
      const { outline, total } = model.snapshot();
      go({ line, share }, () => change((before) => reveal(before, outline, total, line)));
    },
    [model, go, change],
  );
  const toRow = (row: number): void => {
    setFollow(false);
    scroller.toRow(row, 0);
  };
  const toEnd = (): void => {
    if (live) setFollow(true);
    scroller.toEnd();
  };
  const hold = (row: number): void => {
    setFollow(false);
    scroller.hold(row);
  };
  return { ...elements, shown, top, follow, setFollow, goTo, toRow, toEnd, hold };
}

/** What a person chose for every log, kept by the browser. */
export interface Choices {
  readonly times: TimeMode;
  readonly wrap: boolean;
  onTimes(): void;
  onWrap(): void;
}

/** The choices of this browser. */
export function useChoices(): Choices {
  const [times, setTimes] = useState(() => stored('times', 'off') as TimeMode);
  const [wrap, setWrap] = useState(() => stored('wrap', matchMedia('(max-width: 640px)').matches ? 'on' : 'off') === 'on');
  return {
    times,
    wrap,
    onTimes: () => {
      setTimes(nextMode(times));
      store('times', nextMode(times));
    },
    onWrap: () => {
      setWrap(!wrap);
      store('wrap', wrap ? 'off' : 'on');
    },
  };
}
