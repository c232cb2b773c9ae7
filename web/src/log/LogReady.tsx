/** A log that is open: the bar above it, its lines, and what it says of itself. */
import { type RefObject, useCallback, useRef, useState, useSyncExternalStore } from 'react';
import type { StepReport } from '../api/types';
import { useKeys } from '../lib/keys';
import { complain, say } from '../ui/toasts';
import { click } from './clicks';
import { copyText } from './clipboard';
import type { LineRange } from './hash';
import { useFindKey, useFullScreen, usePicked, useSearch } from './hooks';
import { LogBar } from './LogBar';
import { LogFoot, LogNotes, LogPicked } from './LogFoot';
import { LogLines } from './LogLines';
import { type LoadRest, StepHeading } from './LogRows';
import type { OpenedProps } from './LogView';
import { copyLines, lineAt } from './look';
import type { Snapshot } from './model';
import { nextMatch } from './search';
import { type Choices, type Opening, useChoices, useFolding, useViewing, type Viewing } from './viewing';
import type { LogSource } from './wire';

/** Kinds of connection in which nothing more is to be expected for now. */
const STALE = ['lost', 'gone', 'refused'];

/** The log. */
export function LogReady(props: OpenedProps & { steps: readonly StepReport[] }) {
  const { model, source, steps } = props;
  const snapshot = useSyncExternalStore(model.subscribe, model.snapshot);
  const live = !snapshot.complete && snapshot.live.kind !== 'gone' && snapshot.live.kind !== 'refused';
  const [opening] = useState<Opening>(() => ({ total: snapshot.total, failed: live ? undefined : props.failedStep, picked: props.picked }));
  const folding = useFolding(snapshot, steps, opening);
  const viewing = useViewing(model, folding, opening, live);
  const choices = useChoices();
  const [picked, pick] = usePicked(props.picked, viewing.goTo);
  const anchor = useRef<number>(undefined);
  const search = useSearch(source, snapshot.total, snapshot.complete, viewing.goTo);
  const [full, onFull] = useFullScreen(viewing.section);
  const input = useRef<HTMLInputElement>(null);
  const loadRest = useCallback<LoadRest>((line) => source.whole(line), [source]);

  const { rows } = folding;
  const onMatch = (forward: boolean): void => search.onMatch(forward, lineAt(rows, viewing.top));
  const onError = (): void => {
    const line = nextError(snapshot, picked);
    if (line === undefined) return;
    viewing.goTo(line, 0.35);
    pick({ from: line + 1, to: line + 1 });
    anchor.current = line + 1;
  };
  const onFollow = (): void => {
    if (live) viewing.setFollow(!viewing.follow);
  };
  const onTop = (): void => viewing.toRow(0);
  const acts = { onMatch, onError, onFollow, onFull, onTop, onEnd: viewing.toEnd };
  useLogKeys(input, { ...choices, ...acts, onEscape: () => (full ? onFull() : picked !== undefined && pick(undefined)) });

  const under = folding.under(viewing.top);
  const stale = STALE.includes(snapshot.live.kind);
  const classes = ['log', ...(choices.wrap ? ['log-wrap'] : []), ...(full ? ['log-full'] : [])];
  return (
    <section ref={viewing.section} className={classes.join(' ')} aria-label="Log" onClick={(event) => click(event, { folding, viewing, picked, anchor, pick })}>
      <LogBar
        {...choices}
        {...search}
        {...acts}
        input={input}
        errors={snapshot.outline.errors.length}
        follow={viewing.follow}
        live={live}
        full={full}
        raw={source.rawAddress()}
        rawName={`job-${props.jobId}.log`}
      />
      <LogNotes snapshot={snapshot} failure={model.cache.failure?.message} retry={() => model.retry()} />
      <div className="log-frame">
        <LogLines
          {...{ model, snapshot, rows, viewing, steps, picked, search, live, stale, loadRest }}
          times={choices.times}
        />
        {under !== undefined && (
          <StepHeading top step={under.step} open lines={under.end - under.from} report={steps.find((s) => s.index === under.step)} stale={stale} />
        )}
        <Floating live={live} snapshot={snapshot} viewing={viewing} />
        {picked !== undefined && <Picked source={source} range={picked} onClose={() => pick(undefined)} />}
      </div>
      <LogFoot snapshot={snapshot} top={lineAt(rows, viewing.top)} follow={viewing.follow} />
    </section>
  );
}

/** The error behind the one that is picked, or the first. */
function nextError({ outline }: Snapshot, picked: LineRange | undefined): number | undefined {
  if (outline.first_error === null) return undefined;
  const lines = outline.errors.map((e) => e.line);
  if (picked === undefined || !lines.includes(picked.from - 1)) return outline.first_error;
  return lines[nextMatch(lines, picked.from - 1, true)] ?? outline.first_error;
}

interface Acts {
  onMatch(forward: boolean): void;
  onError(): void;
  onFollow(): void;
  onTop(): void;
  onEnd(): void;
  onEscape(): void;
}

/** The keys of a log. */
function useLogKeys(input: RefObject<HTMLInputElement | null>, acts: Acts & Choices): void {
  const find = (): void => {
    input.current?.focus();
    input.current?.select();
  };
  useKeys({
    f: acts.onFollow,
    g: acts.onTop,
    G: acts.onEnd,
    Home: acts.onTop,
    End: acts.onEnd,
    n: () => acts.onMatch(true),
    N: () => acts.onMatch(false),
    e: acts.onError,
    w: acts.onWrap,
    t: acts.onTimes,
    '/': find,
    Escape: acts.onEscape,
  });
  useFindKey(input, find);
}

/** What stands over the lines: that there are none, or the way back to the end. */
function Floating({ live, snapshot, viewing }: { live: boolean; snapshot: Snapshot; viewing: Viewing }) {
  if (snapshot.total === 0) {
    return <p className="log-blank">{live ? 'No output yet. Lines appear here as soon as a step prints them.' : 'This job printed nothing.'}</p>;
  }
  if (!live || viewing.follow) return null;
  return (
    <div className="log-float">
      <button type="button" className="button small" onClick={viewing.toEnd}>
        Jump to end ↓
      </button>
    </div>
  );
}

/** What can be done with the lines that are picked. */
function Picked({ source, range, onClose }: { source: LogSource; range: LineRange; onClose: () => void }) {
  const failed = (error: unknown): void => complain(error, 'Copying');
  const onCopy = (): void =>
    void copyLines(source, range).then((lines) => say(lines === 1 ? 'Copied 1 line.' : `Copied ${lines} lines.`), failed);
  const onLink = (): void => void copyText(location.href).then(() => say('Copied the link.'), failed);
  return <LogPicked range={range} onCopy={onCopy} onLink={onLink} onClose={onClose} />;
}
