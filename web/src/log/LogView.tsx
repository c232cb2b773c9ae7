/**
 * The log of a job: live from its first line, folded by steps and groups, searched at the
 * server. Only rows on screen (and a margin) are fetched and drawn. The state of the log
 * itself lives in `model.ts`, where rows are in `scroller.ts`; here both meet the page.
 */
import { useQuery } from '@tanstack/react-query';
import {
  type CSSProperties, type MouseEvent, useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, useSyncExternalStore,
} from 'react';
import { flushSync } from 'react-dom';
import { send } from '../api/client';
import type { JobView, StepReport } from '../api/types';
import { useKeys } from '../lib/keys';
import { complain, say } from '../ui/toasts';
import { Failed, Loading } from '../ui/states';
import { PLAIN } from './ansi';
import { copyText } from './clipboard';
import { type LineRange, parseHash, select } from './hash';
import { store, stored, useFindKey, useFullScreen, usePicked, useSearch } from './hooks';
import { LogBar } from './LogBar';
import { LogFoot, LogNotes, LogPicked } from './LogFoot';
import { LineRow, type LoadRest, StepHeading } from './LogRows';
import { copyLines, drawnRows, lineAt, linesOf, moved, openAt, stepUnder } from './look';
import { LogModel } from './model';
import { buildRows, type Folds, type FoldRules, NO_FOLDS, regions, reveal } from './rows';
import { type Range, Scroller } from './scroller';
import { nextMatch } from './search';
import { nextMode, type TimeMode } from './times';
import { LogSource, type OutlineGroup } from './wire';
import './log.css';

/** What a log view shows. */
export interface LogViewProps {
  /** The job. */
  readonly jobId: number;
  /** Which attempt; the current or last one if absent. */
  readonly attempt?: number;
  /** Index of the step that failed: it is opened first. */
  readonly failedStep?: number;
  /** Lines to show (`#L10-L20`); those of the address of the page if absent. */
  readonly lineHash?: string;
  /** Reports of the steps, for their names; asked for at the server if absent. */
  readonly steps?: readonly StepReport[];
}

/**
 * The router puts elements that scroll back to where they were, and finds them by this name. It
 * must not find the log, whose bar stands for lines and not for pixels: this name cannot be found.
 */
const NOT_RESTORED = '"';

/** The log of one attempt. */
export function LogView(props: LogViewProps) {
  const { jobId, attempt } = props;
  const [opened, setOpened] = useState<{ model: LogModel; source: LogSource; picked: LineRange | undefined }>();
  useEffect(() => {
    const source = new LogSource(jobId, attempt);
    const model = new LogModel(source);
    const picked = parseHash(props.lineHash ?? location.hash);
    model.start(picked === undefined ? undefined : picked.from - 1);
    setOpened({ model, source, picked });
    return () => model.stop();
    // A changed hash moves inside the log that is open.
  }, [jobId, attempt]);
  if (opened === undefined) return <section className="log" aria-label="Log" aria-busy="true" />;
  return <Opened key={`${jobId}/${attempt ?? ''}`} {...props} {...opened} />;
}

interface OpenedProps extends LogViewProps {
  readonly model: LogModel;
  readonly source: LogSource;
  readonly picked: LineRange | undefined;
}

function useSteps(props: LogViewProps, complete: boolean, seen: number): readonly StepReport[] {
  const asked = useQuery({
    queryKey: ['log-steps', props.jobId, complete, seen],
    queryFn: async () => (await (await send(`/api/v1/jobs/${props.jobId}`)).json()) as JobView,
    enabled: props.steps === undefined,
    refetchInterval: complete ? false : 5_000,
    placeholderData: (before) => before,
  });
  return props.steps ?? asked.data?.steps ?? NO_STEPS;
}
const NO_STEPS: readonly StepReport[] = [];

function Opened(props: OpenedProps) {
  const { model, source } = props;
  const snapshot = useSyncExternalStore(model.subscribe, model.snapshot);
  const steps = useSteps(props, snapshot.complete, snapshot.outline.steps.length);
  if (!snapshot.ready) {
    return (
      <section className="log" aria-label="Log" aria-busy="true">
        <div className="log-frame">
          <div className="log-blank">
            {snapshot.failure === undefined ? <Loading what="Opening the log" /> : <Failed error={snapshot.failure} />}
          </div>
        </div>
      </section>
    );
  }
  return <Ready {...props} model={model} source={source} steps={steps} />;
}

function Ready(props: OpenedProps & { steps: readonly StepReport[] }) {
  const { model, source, steps } = props;
  const snapshot = useSyncExternalStore(model.subscribe, model.snapshot);
  const { outline, total } = snapshot;
  const live = !snapshot.complete && snapshot.live.kind !== 'gone' && snapshot.live.kind !== 'refused';

  const stale = ['lost', 'gone', 'refused'].includes(snapshot.live.kind);

  const [folds, setFolds] = useState<Folds>(() =>
    props.picked === undefined ? NO_FOLDS : reveal(NO_FOLDS, outline, total, props.picked.from - 1),
  );
  const [times, setTimes] = useState<TimeMode>(() => stored('times', 'off') as TimeMode);
  const [wrap, setWrap] = useState(() => stored('wrap', matchMedia('(max-width: 640px)').matches ? 'on' : 'off') === 'on');
  const [follow, setFollow] = useState(() => live && props.picked === undefined);
  const [top, setTop] = useState(0);
  const [range, setRange] = useState<Range>({ first: 0, end: 0 });

  const section = useRef<HTMLElement>(null);
  const outer = useRef<HTMLDivElement>(null);
  const spacer = useRef<HTMLDivElement>(null);
  const inner = useRef<HTMLDivElement>(null);
  const input = useRef<HTMLInputElement>(null);
  const anchor = useRef<number>(undefined);
  const [full, onFull] = useFullScreen(section);
  const goal = useRef<Goal | undefined>(undefined);

  // What is open is decided when the log is opened: nothing folds under somebody's eyes.
  const [opening] = useState(() => ({ total, failed: live ? undefined : props.failedStep }));
  const rules = useMemo<FoldRules>(() => {
    const errors = new Set(outline.errors.slice(0, 50).map((e) => e.line));
    if (outline.first_error !== null) errors.add(outline.first_error);
    const holdsError = (group: OutlineGroup): boolean =>
      [...errors].some((line) => line > group.from && group.to !== null && line <= group.to);
    return {
      stepOpen: (index) => opening.failed === undefined || index === opening.failed,
      groupOpen: (group) => group.to === null || group.from >= opening.total || holdsError(group),
    };
  }, [opening, outline.errors, outline.first_error]);
  const known = useMemo(() => steps.map((step) => step.index), [steps]);
  const rows = useMemo(() => buildRows(outline, total, known, folds, rules), [outline, total, known, folds, rules]);
  const latest = useRef(rows);

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
    if (outer.current === null || spacer.current === null || inner.current === null) return undefined;
    return scroller.attach(outer.current, spacer.current, inner.current);
  }, [scroller]);

  // The rows changed: what is looked at stays where it is, or a goal is gone to.
  const first = useRef(true);
  useLayoutEffect(() => {
    const before = latest.current;
    latest.current = rows;
    scroller.setRows(rows.count, before === rows ? undefined : (row) => moved(before, rows, row));
    if (first.current) {
      first.current = false;
      // On a page with other things above, lines of the address are what one came for.
      if (props.picked !== undefined) section.current?.scrollIntoView({ block: 'start' });
      openAt(scroller, rows, snapshot.outline.errors, props.picked, opening.failed, total);
    } else if (goal.current !== undefined) {
      const { line, share } = goal.current;
      goal.current = undefined;
      if (share === undefined) scroller.ensureRow(rows.ofLine(line));
      else scroller.toRow(rows.ofLine(line), share);
    } else if (follow) {
      scroller.toEnd();
    }
  }, [rows]);

  useLayoutEffect(() => {
    if (follow) scroller.toEnd();
  }, [follow, scroller]);

  const shown = useMemo<Range>(() => ({ first: range.first, end: Math.min(range.end, rows.count) }), [range, rows]);
  useLayoutEffect(() => {
    scroller.drawn(shown);
  });

  useEffect(() => {
    const [from, to] = linesOf(rows, shown);
    if (to >= from) model.cache.want(from, to);
  }, [model, rows, shown]);

  // Going to lines
  const goTo = useCallback(
    (line: number, share?: number): void => {
      setFollow(false);
      if (latest.current.shows(line)) {
        if (share === undefined) scroller.ensureRow(latest.current.ofLine(line));
        else scroller.toRow(latest.current.ofLine(line), share);
        return;
      }
      goal.current = { line, share };
      const { outline: now, total: lines } = model.snapshot();
      setFolds((before) => reveal(before, now, lines, line));
    },
    [model, scroller],
  );

  const [picked, pick] = usePicked(props.picked, goTo);
  const { found, current, highlight, onSearch, ...searching } = useSearch(source, total, snapshot.complete, goTo);
  const onMatch = (forward: boolean): void => searching.onMatch(forward, lineAt(rows, top));

  // Acting
  const onError = (): void => {
    if (outline.first_error === null) return;
    const lines = outline.errors.map((e) => e.line);
    const here = picked !== undefined && lines.includes(picked.from - 1) ? picked.from - 1 : -1;
    const line = here < 0 ? outline.first_error : (lines[nextMatch(lines, here, true)] ?? outline.first_error);
    goTo(line, 0.35);
    pick({ from: line + 1, to: line + 1 });
    anchor.current = line + 1;
  };
  const onTimes = (): void => {
    setTimes(nextMode(times));
    store('times', nextMode(times));
  };
  const onWrap = (): void => {
    setWrap(!wrap);
    store('wrap', wrap ? 'off' : 'on');
  };
  const onTop = (): void => {
    setFollow(false);
    scroller.toRow(0, 0);
  };
  const onEnd = (): void => {
    if (live) setFollow(true);
    scroller.toEnd();
  };
  const onFollow = (): void => {
    if (live) setFollow(!follow);
  };
  const find = (): void => {
    input.current?.focus();
    input.current?.select();
  };
  useKeys({
    f: onFollow,
    g: onTop,
    G: onEnd,
    Home: onTop,
    End: onEnd,
    n: () => onMatch(true),
    N: () => onMatch(false),
    e: onError,
    w: onWrap,
    t: onTimes,
    '/': find,
    Escape: () => {
      if (full) onFull();
      else if (picked !== undefined) pick(undefined);
    },
  });

  useFindKey(input, find);

  const fold = (change: (before: Folds) => Folds, row: number): void => {
    setFollow(false);
    scroller.hold(row);
    setFolds(change);
  };
  const onClick = (event: MouseEvent<HTMLElement>): void => {
    if (!(event.target instanceof Element)) return;
    const step = event.target.closest('[data-step]');
    if (step !== null) {
      const index = Number(step.getAttribute('data-step'));
      const row = rows.ofStep(index) ?? 0;
      const heading = rows.at(row);
      const isOpen = heading?.kind === 'step' && heading.open;
      const set = (before: Folds): Folds => ({ ...before, steps: new Map(before.steps).set(index, !isOpen) });
      if (step.closest('.log-top') !== null) {
        setFollow(false);
        scroller.toRow(row, 0);
        setFolds(set);
      } else {
        fold(set, row);
      }
      return;
    }
    const group = event.target.closest('[data-group]');
    if (group !== null && String(getSelection()) === '') {
      const line = Number(group.getAttribute('data-group'));
      const isOpen = group.getAttribute('aria-expanded') === 'true';
      fold((before) => ({ ...before, groups: new Map(before.groups).set(line, !isOpen) }), rows.ofLine(line));
      return;
    }
    const number = event.target.closest('.log-n');
    if (number === null || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const line = Number(number.parentElement?.getAttribute('data-line')) + 1;
    const next = select(picked, line, event.shiftKey, anchor.current);
    if (!event.shiftKey) anchor.current = line;
    setFollow(false);
    pick(next);
  };

  const onCopy = (range: LineRange): void => {
    void copyLines(source, range).then(
      (lines) => say(lines === 1 ? 'Copied 1 line.' : `Copied ${lines} lines.`),
      (error: unknown) => complain(error, 'Copying'),
    );
  };
  const onLink = (): void => {
    copyText(location.href).then(
      () => say('Copied the link.'),
      (error: unknown) => complain(error, 'Copying'),
    );
  };
  const loadRest = useCallback<LoadRest>((line) => source.whole(line), [source]);

  const topLine = lineAt(rows, top);
  const region = useMemo(() => regions(outline, total, known), [outline, total, known]);
  const under = stepUnder(rows, region, top);
  const classes = ['log', ...(wrap ? ['log-wrap'] : []), ...(full ? ['log-full'] : [])];
  const digits = Math.max(4, String(total).length);
  return (
    <section ref={section} className={classes.join(' ')} aria-label="Log" onClick={onClick}>
      <LogBar
        input={input}
        found={found}
        current={current}
        errors={outline.errors.length}
        times={times}
        wrap={wrap}
        follow={follow}
        live={live}
        full={full}
        raw={source.rawAddress()}
        rawName={`job-${props.jobId}.log`}
        onSearch={onSearch}
        onMatch={onMatch}
        onError={onError}
        onTimes={onTimes}
        onWrap={onWrap}
        onFollow={onFollow}
        onFull={onFull}
        onTop={onTop}
        onEnd={onEnd}
      />
      <LogNotes snapshot={snapshot} failure={model.cache.failure?.message} retry={() => model.retry()} />
      <div className="log-frame">
        <div
          ref={outer}
          className="log-scroll"
          data-scroll-restoration-id={NOT_RESTORED}
          role="log"
          aria-live="off"
          aria-label="Lines of the log"
          aria-busy={live}
          tabIndex={0}
          onWheel={(event) => {
            if (event.deltaY < 0) setFollow(false);
          }}
        >
          <div ref={spacer} className="log-spacer">
            <div ref={inner} className="log-window" style={{ '--log-digits': `${digits}ch` } as CSSProperties}>
              {drawnRows(rows, shown, (row) => {
                if (row.kind === 'step') {
                  return <StepHeading key={`s${row.step}`} step={row.step} open={row.open} lines={row.lines} report={steps.find((s) => s.index === row.step)} stale={stale} />;
                }
                const here = model.cache.get(row.n);
                return (
                  <LineRow
                    key={row.n}
                    n={row.n}
                    line={here?.line}
                    style={here?.style ?? PLAIN}
                    depth={row.depth}
                    open={row.group === undefined ? undefined : row.open}
                    groupLines={row.group === undefined ? 0 : (row.group.to ?? total) - row.group.from}
                    times={times}
                    began={snapshot.began}
                    search={highlight}
                    selected={picked !== undefined && row.n + 1 >= picked.from && row.n + 1 <= picked.to}
                    current={current >= 0 && found?.lines[current] === row.n}
                    loadRest={loadRest}
                  />
                );
              })}
            </div>
          </div>
        </div>
        {total === 0 && (
          <p className="log-blank">{live ? 'No output yet. Lines appear here as soon as a step prints them.' : 'This job printed nothing.'}</p>
        )}
        {under !== undefined && (
          <StepHeading top step={under.step} open lines={under.end - under.from} report={steps.find((s) => s.index === under.step)} stale={stale} />
        )}
        {live && !follow && total > 0 && (
          <div className="log-float">
            <button type="button" className="button small" onClick={onEnd}>
              Jump to end ↓
            </button>
          </div>
        )}
        {picked !== undefined && (
          <LogPicked range={picked} onCopy={() => onCopy(picked)} onLink={onLink} onClose={() => pick(undefined)} />
        )}
      </div>
      <LogFoot snapshot={snapshot} top={topLine} follow={follow} />
    </section>
  );
}

interface Goal {
  readonly line: number;
  readonly share: number | undefined;
}
