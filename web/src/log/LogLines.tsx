/** The part of a log that scrolls: the rows that are drawn, each with what it needs. */
import type { CSSProperties } from 'react';
import type { StepReport } from '../api/types';
import { PLAIN } from './ansi';
import type { LineRange } from './hash';
import type { Searching } from './hooks';
import { LineRow, type LoadRest, StepHeading } from './LogRows';
import { drawnRows } from './look';
import type { LogModel, Snapshot } from './model';
import type { Row, Rows } from './rows';
import type { TimeMode } from './times';
import type { Viewing } from './viewing';

/**
 * The router puts elements that scroll back to where they were, and finds them by this name. It
 * must not find the log, whose bar stands for lines and not for pixels: this name cannot be found.
 */
const NOT_RESTORED = '"';

/** What rows are drawn from. */
export interface LogLinesProps {
  readonly model: LogModel;
  readonly snapshot: Snapshot;
  readonly rows: Rows;
  readonly viewing: Viewing;
  readonly steps: readonly StepReport[];
  readonly picked: LineRange | undefined;
  readonly search: Searching;
  readonly times: TimeMode;
  readonly live: boolean;
  readonly stale: boolean;
  readonly loadRest: LoadRest;
}

/** The lines. */
export function LogLines(props: LogLinesProps) {
  const { viewing, rows } = props;
  const digits = Math.max(4, String(props.snapshot.total).length);
  return (
    <div
      ref={viewing.outer}
      className="log-scroll"
      data-scroll-restoration-id={NOT_RESTORED}
      role="log"
      aria-live="off"
      aria-label="Lines of the log"
      aria-busy={props.live}
      tabIndex={0}
      onWheel={(event) => {
        if (event.deltaY < 0) viewing.setFollow(false);
      }}
    >
      <div ref={viewing.spacer} className="log-spacer">
        <div ref={viewing.inner} className="log-window" style={{ '--log-digits': `${digits}ch` } as CSSProperties}>
          {drawnRows(rows, viewing.shown, (row) => drawn(row, props))}
        </div>
      </div>
    </div>
  );
}

function drawn(row: Row, props: LogLinesProps) {
  const { model, snapshot, picked, search } = props;
  if (row.kind === 'step') {
    const report = props.steps.find((step) => step.index === row.step);
    return <StepHeading key={`s${row.step}`} step={row.step} open={row.open} lines={row.lines} report={report} stale={props.stale} />;
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
      groupLines={row.group === undefined ? 0 : (row.group.to ?? snapshot.total) - row.group.from}
      times={props.times}
      began={snapshot.began}
      search={search.highlight}
      selected={picked !== undefined && row.n + 1 >= picked.from && row.n + 1 <= picked.to}
      current={search.current >= 0 && search.found?.lines[search.current] === row.n}
      loadRest={props.loadRest}
    />
  );
}
