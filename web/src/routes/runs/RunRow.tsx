/** One row of the list of runs. */
import { Link } from '@tanstack/react-router';
import { memo } from 'react';
import type { JobCounts, RunView } from '../../api/types';
import { Icon } from '../../ui/Icon';
import { standing, StatusIcon } from '../../ui/Status';
import { Ago, Lasted } from '../../ui/Time';

/** The row; `offset` is its place in the list, pixels. */
export const RunRow = memo(function RunRow({ run, index, offset }: { run: RunView; index: number; offset: number }) {
  return (
    <div role="row" aria-rowindex={index + 1} data-index={index} className="run-row" style={{ transform: `translateY(${offset}px)` }}>
      <div role="cell" className="run-status">
        <StatusIcon of={standing(run)} />
      </div>
      <div role="cell" className="run-what">
        <Link to="/runs/$run" params={{ run: String(run.id) }} className="run-title cut">
          {run.title}
        </Link>
        <span className="cut muted run-sub">
          {run.name} #{run.number}
          {run.attempt > 1 && `, attempt ${run.attempt}`} · {run.project} · {run.event}
        </span>
      </div>
      <div role="cell" className="run-branch hide-narrow">
        {run.branch && (
          <span className="chip mono">
            <Icon name="branch" />
            <span className="cut">{run.branch}</span>
          </span>
        )}
        {run.sha && (
          <span className="run-commit mono muted" title={run.sha}>
            <span className="visually-hidden">Commit </span>
            {run.sha.slice(0, 10)}
          </span>
        )}
      </div>
      <div role="cell" className="run-actor cut muted hide-narrow">
        {run.actor}
      </div>
      <div role="cell" className="run-jobs hide-narrow">
        {run.job_counts && <Counts of={run.job_counts} />}
      </div>
      <div role="cell" className="run-times">
        <span>
          <Lasted from={run.started_at ?? null} to={run.finished_at ?? (run.status === 'completed' ? run.created_at : null)} />
        </span>
        <span className="muted">
          <Ago at={run.created_at} />
        </span>
      </div>
    </div>
  );
});

const PARTS = [
  ['success', 'ok'], ['failure', 'bad'], ['timed_out', 'bad'], ['running', 'busy'], ['queued', 'wait'],
  ['waiting', 'quiet'], ['cancelled', 'quiet'], ['skipped', 'quiet'],
] as const;

/** The jobs of a run as a small bar. */
function Counts({ of }: { of: JobCounts }) {
  const parts = PARTS.flatMap(([name, tone]) => {
    const count = of[name] ?? 0;
    return count > 0 ? [{ name, tone, count }] : [];
  });
  const label = `${of.total} ${of.total === 1 ? 'job' : 'jobs'}: ${parts.map(({ name, count }) => `${count} ${name.replace('_', ' ')}`).join(', ')}`;
  return (
    <span className="counts" role="img" aria-label={label} title={label}>
      {parts.map(({ name, tone, count }) => (
        <span key={name} className={`counts-part tone-${tone}`} style={{ flexGrow: count }} />
      ))}
    </span>
  );
}
