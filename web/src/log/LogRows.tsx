/** One row of the log each: headings of steps, titles of groups, lines. Rows never decide what is shown. */
import { memo, useState } from 'react';
import type { StepReport } from '../api/types';
import { Icon, type IconName } from '../ui/Icon';
import { PLAIN, type Style } from './ansi';
import { type Command, parseCommand } from './command';
import { LineText } from './pieces';
import { bytes, lasted, many, showTime, type TimeMode } from './times';
import type { LogLine } from './wire';

/** Characters of a line that are drawn at first. */
const DRAWN = 6_000;

/** Characters that one press of the button adds. */
const MORE = 200_000;

/** Fetches the whole of a line that the server cut. */
export type LoadRest = (line: LogLine) => Promise<string>;

/** What the row of a line needs. */
export interface LineRowProps {
  readonly n: number;
  readonly line: LogLine | undefined;
  readonly style: Style;
  readonly depth: number;
  /** Whether the group that it titles is open; `undefined` if it titles none. */
  readonly open: boolean | undefined;
  readonly groupLines: number;
  readonly times: TimeMode;
  readonly began: number | undefined;
  readonly search: RegExp | undefined;
  readonly selected: boolean;
  readonly current: boolean;
  readonly loadRest: LoadRest;
}

/** A line. Clicks are taken by the log as a whole. */
export const LineRow = memo(function LineRow(props: LineRowProps) {
  const { line, n } = props;
  const command = line === undefined ? undefined : parseCommand(line.text);
  const classes = ['log-row', ...marks(props, command)];
  return (
    <div className={classes.join(' ')} data-line={n}>
      <a className="log-n" href={`#L${n + 1}`} tabIndex={-1} aria-label={`Line ${n + 1}`}>
        {n + 1}
      </a>
      {props.times !== 'off' && (
        <time className="log-time" dateTime={line?.at} title={line?.at}>
          {line === undefined ? '' : showTime(line.at, props.times, props.began)}
        </time>
      )}
      <span className="log-text">
        {line !== undefined && (props.open === undefined ? <Content {...props} line={line} command={command} /> : <Title {...props} command={command} />)}
      </span>
    </div>
  );
});

function marks(props: LineRowProps, command: Command | undefined): string[] {
  const names: string[] = [];
  if (props.line === undefined) names.push('log-wait');
  if (props.line?.stream === 'stderr') names.push('log-stderr');
  if (props.line?.stream === 'runner') names.push('log-runner');
  if (props.line?.stream === 'runner' && props.line.text.startsWith('[the log ends here')) names.push('log-warning');
  if (command !== undefined && props.open === undefined) names.push(`log-${command.kind}`);
  if (props.open !== undefined) names.push('log-group');
  if (props.depth > 0) names.push(`log-depth-${Math.min(props.depth, 4)}`);
  if (props.selected) names.push('log-selected');
  if (props.current) names.push('log-current');
  return names;
}

function Title(props: LineRowProps & { command: Command | undefined }) {
  const title = props.command?.text ?? props.line?.text ?? '';
  return (
    <button type="button" className="log-fold" aria-expanded={props.open} data-group={props.n} tabIndex={-1}>
      <Icon name={props.open === true ? 'down' : 'right'} />
      <span>
        {props.line === undefined ? null : (
          <LineText line={props.line} text={title === '' ? 'Group' : title} style={PLAIN} search={props.search} />
        )}
      </span>
      {props.open === false && <span className="log-extra">{count(props.groupLines)}</span>}
    </button>
  );
}

const LEVELS = { error: 'Error: ', warning: 'Warning: ', notice: 'Notice: ' } as const;

function Content(props: LineRowProps & { line: LogLine; command: Command | undefined }) {
  const { line, command } = props;
  if (command?.kind === 'endgroup') return <span className="visually-hidden">End of group</span>;
  if (command === undefined) return <Text {...props} line={line} text={line.text} />;
  const level = command.kind in LEVELS ? LEVELS[command.kind as keyof typeof LEVELS] : undefined;
  return (
    <>
      {level !== undefined && <span className="log-level">{level}</span>}
      <Text {...props} line={line} text={command.text} />
      {command.place !== undefined && <span className="log-place"> ({command.place})</span>}
    </>
  );
}

/** The text, and for a long line the way to more of it. */
function Text(props: LineRowProps & { line: LogLine; text: string }) {
  const [drawn, setDrawn] = useState(DRAWN);
  const [rest, setRest] = useState<string>();
  const [state, setState] = useState<'idle' | 'busy' | 'failed'>('idle');
  const text = rest ?? props.text;
  const whole = props.line.cut === true && rest === undefined ? (props.line.bytes ?? 0) : text.length;
  if (text.length <= DRAWN && props.line.cut !== true) {
    return <LineText line={props.line} text={text} style={props.style} search={props.search} />;
  }
  const more = (): void => {
    const wanted = Math.min(drawn + MORE, Math.max(whole, text.length));
    if (text.length >= wanted || props.line.cut !== true || rest !== undefined) {
      setDrawn(drawn + MORE);
      return;
    }
    setState('busy');
    props.loadRest(props.line).then(
      (all) => {
        setRest(all);
        setDrawn(drawn + MORE);
        setState('idle');
      },
      () => setState('failed'),
    );
  };
  const left = whole - Math.min(drawn, text.length);
  return (
    <>
      <LineText line={props.line} text={beginning(text, drawn)} style={props.style} search={props.search} />
      {left > 0 && (
        <button type="button" className="log-more" onClick={more} disabled={state === 'busy'}>
          {state === 'busy' ? 'Loading…' : state === 'failed' ? 'Failed. Try again' : `Show more (${bytes(left)} left)`}
        </button>
      )}
    </>
  );
}

/** The beginning of a text, without half a character at its end. */
function beginning(text: string, length: number): string {
  const code = text.charCodeAt(length - 1);
  return text.slice(0, code >= 0xd800 && code <= 0xdbff ? length - 1 : length);
}

/** A number of lines in words. */
export function count(lines: number): string {
  return lines === 1 ? '1 line' : `${many(lines)} lines`;
}

const STATES: Readonly<Record<string, readonly [IconName, string, string]>> = {
  success: ['check', 'tone-ok', 'succeeded'],
  failure: ['cross', 'tone-bad', 'failed'],
  timed_out: ['clock', 'tone-bad', 'timed out'],
  cancelled: ['stop', 'tone-quiet', 'cancelled'],
  skipped: ['skip', 'tone-quiet', 'skipped'],
  running: ['arc', 'tone-busy spin', 'running'],
  queued: ['ring', 'tone-quiet', 'waiting'],
  waiting: ['ring', 'tone-quiet', 'waiting'],
};

/** The heading of a step; `top` if it stays at the upper edge. */
export const StepHeading = memo(function StepHeading(props: {
  step: number;
  open: boolean;
  lines: number;
  report: StepReport | undefined;
  /** What is known of it may have changed: nothing is called running. */
  stale: boolean;
  top?: boolean;
}) {
  const { report } = props;
  const known = props.stale && report?.conclusion == null ? '' : (report?.conclusion ?? report?.status ?? '');
  const [icon, tone, words] = STATES[known] ?? (['dot', 'tone-quiet', ''] as const);
  const name = report?.name ?? `Step ${props.step + 1}`;
  return (
    <div className={props.top === true ? 'log-row log-step log-top' : 'log-row log-step'} data-heading={props.step}>
      <button
        type="button"
        className="log-fold"
        aria-expanded={props.open}
        data-step={props.step}
        {...(props.top === true ? { tabIndex: -1 } : {})}
      >
        <Icon name={props.open ? 'down' : 'right'} />
        <Icon name={icon} className={`log-state ${tone}`} />
        <span className="log-name">{name}</span>
        {words !== '' && <span className="visually-hidden">, {words}</span>}
        <span className="log-extra">
          <span className="hide-narrow">{props.lines > 0 ? `${count(props.lines)} · ` : ''}</span>
          {time(report, props.stale)}
        </span>
      </button>
    </div>
  );
});

function time(report: StepReport | undefined, stale: boolean): string {
  if (report?.started_at == null) return '';
  if (report.finished_at == null) return report.status === 'running' && !stale ? 'running' : '';
  return lasted(Date.parse(report.finished_at) - Date.parse(report.started_at));
}
