/** The timeline: one row for each job, stretches for waiting, set-up and steps. */
import { Link } from '@tanstack/react-router';
import { useMemo } from 'react';
import type { JobView } from '../../api/types';
import { duration, useNow } from '../../lib/time';
import { standing, StatusIcon } from '../../ui/Status';
import { Empty } from '../../ui/states';
import { groupsOf, marksOf, spanOf, type Stretch, type TimelineRow } from './timeline';

const MARKS = 7;

/** The timeline, by job or by runner. */
export function TimelineView({ jobs, by, over }: { jobs: readonly JobView[]; by: 'job' | 'runner'; over: boolean }) {
  const present = useNow();
  const now = over ? 0 : present;
  const groups = useMemo(() => groupsOf(jobs, by, now), [jobs, by, now]);
  const span = spanOf(groups);
  if (!span) return <Empty title="Nothing has started yet">The timeline begins when the first job is ready for a runner.</Empty>;
  const length = span.to - span.from;
  const place = (at: number): number => ((at - span.from) / length) * 100;
  return (
    <div className="timeline">
      <ul className="legend" aria-label="Legend">
        <li><span className="swatch stretch-waiting" /> waiting</li>
        <li><span className="swatch stretch-set-up" /> set-up</li>
        <li><span className="swatch fill-ok" /> step</li>
        <li><span className="swatch fill-busy" /> running</li>
        <li><span className="swatch fill-bad" /> failed step</li>
        <li><span className="swatch stretch-running" /> finishing</li>
      </ul>
      <div className="timeline-row timeline-axis" aria-hidden="true">
        <span />
        <div className="timeline-track">
          {marksOf(length, MARKS).map((mark) => (
            <span key={mark} className="timeline-mark" style={{ left: `${(mark / length) * 100}%` }}>
              {mark === 0 ? '0' : duration(mark)}
            </span>
          ))}
        </div>
      </div>
      {groups.map((group) => (
        <section key={group.title} aria-label={group.title === '' ? undefined : `Runner ${group.title}`}>
          {group.title !== '' && <h3 className="timeline-title">{group.title}</h3>}
          <ul>
            {group.rows.map((row) => (
              <Row key={row.job.id} row={row} place={place} />
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function Row({ row, place }: { row: TimelineRow; place: (at: number) => number }) {
  const { job, stretches } = row;
  return (
    <li className="timeline-row">
      <Link to="/runs/$run/jobs/$job" params={{ run: String(job.run), job: String(job.id) }} className="row timeline-name" title={job.name}>
        <StatusIcon of={standing(job)} />
        <span className="cut">{job.name}</span>
      </Link>
      <div className="timeline-track">
        <span className="visually-hidden">{inWords(stretches)}</span>
        {stretches.map((stretch, index) => (
          <span
            key={index}
            className={`stretch ${classOf(stretch)}`}
            title={`${nameOf(stretch)}: ${duration(stretch.to - stretch.from)}`}
            style={{ left: `${place(stretch.from)}%`, width: `${place(stretch.to) - place(stretch.from)}%` }}
          />
        ))}
      </div>
    </li>
  );
}

function nameOf(stretch: Stretch): string {
  return stretch.kind === 'step' ? (stretch.step?.name ?? 'step') : stretch.kind === 'running' ? 'finishing' : stretch.kind;
}

function classOf(stretch: Stretch): string {
  if (stretch.kind !== 'step' || !stretch.step) return `stretch-${stretch.kind}`;
  return `fill-${standing(stretch.step).tone}`;
}

function inWords(stretches: readonly Stretch[]): string {
  const sum = (kind: Stretch['kind']): number => stretches.filter((each) => each.kind === kind).reduce((all, each) => all + each.to - each.from, 0);
  return `waited ${duration(sum('waiting'))}, set-up ${duration(sum('set-up'))}, steps ${duration(sum('step'))}`;
}
