/** The jobs of a run at the side, legs of a matrix under their node. */
import { Link } from '@tanstack/react-router';
import { memo, useMemo } from 'react';
import type { JobView, RunView } from '../../api/types';
import { useKeys } from '../../lib/keys';
import { Icon } from '../../ui/Icon';
import { standing, StatusIcon } from '../../ui/Status';
import { Lasted } from '../../ui/Time';
import { nodesOf } from './graph';

/** The list; j and k go through it. */
export function JobList({ run, current }: { run: RunView; current: number | null }) {
  const nodes = useMemo(() => nodesOf(run.jobs ?? []), [run.jobs]);
  const step = (by: number): void => {
    const links = [...document.querySelectorAll<HTMLElement>('.job-list a')];
    const at = links.indexOf(document.activeElement as HTMLElement);
    links[Math.max(0, Math.min(links.length - 1, at + by))]?.focus();
  };
  useKeys({ j: () => step(1), k: () => step(-1) });
  return (
    <nav className="job-list" aria-label="Jobs of the run">
      <Link to="/runs/$run" params={{ run: String(run.id) }} className="job-link" activeOptions={{ exact: true, includeSearch: false }} activeProps={{ 'aria-current': 'page' }}>
        <Icon name="runs" />
        <span className="grow">Overview</span>
      </Link>
      <ul>
        {nodes.map((node) =>
          node.legs.length === 1 && node.legs[0] ? (
            <li key={node.key}>
              <JobLink job={node.legs[0]} current={node.legs[0].id === current} />
            </li>
          ) : (
            <li key={node.key}>
              <p className="job-group cut">
                {node.name} <span className="muted">{node.legs.length}</span>
              </p>
              <ul className="job-legs">
                {node.legs.map((leg) => (
                  <li key={leg.id}>
                    <JobLink job={leg} label={legName(leg.name, node.name)} current={leg.id === current} />
                  </li>
                ))}
              </ul>
            </li>
          ),
        )}
      </ul>
    </nav>
  );
}

/** The name of a leg without what its node is called anyway: `build (a, b)` under `build` is `a, b`. */
export function legName(leg: string, node: string): string {
  const rest = leg.startsWith(node) ? leg.slice(node.length).trim() : leg;
  const inner = /^\((.*)\)$/.exec(rest)?.[1] ?? rest;
  return inner === '' ? leg : inner;
}

const JobLink = memo(function JobLink({ job, label, current }: { job: JobView; label?: string; current: boolean }) {
  return (
    <Link
      to="/runs/$run/jobs/$job"
      params={{ run: String(job.run), job: String(job.id) }}
      className="job-link"
      aria-current={current ? 'page' : undefined}
      title={job.name}
    >
      <StatusIcon of={standing(job)} />
      <span className="grow cut">{label ?? job.name}</span>
      <span className="muted job-time">
        <Lasted from={job.started_at ?? null} to={job.finished_at ?? (job.status === 'completed' ? (job.started_at ?? null) : null)} />
      </span>
    </Link>
  );
});
