/** One runner: what it is, what it offers, what it does, and its load over time. */
import { queryOptions, useQueries, useQuery, useQueryClient } from '@tanstack/react-query';
import { getRouteApi, Link, useNavigate } from '@tanstack/react-router';
import { useMemo, type ReactNode } from 'react';
import { answer, api } from '../../api/client';
import { asApiError } from '../../api/problem';
import type { RunnerView } from '../../api/schema.gen';
import { bytes } from '../../lib/bytes';
import { usePageTitle } from '../../lib/title';
import { useFeed } from '../../live/feed';
import { Icon } from '../../ui/Icon';
import { Empty, Failed, Loading } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { TimeChart } from '../../ui/TimeChart';
import { Chips } from './FleetPage';
import { Ranges } from './Ranges';
import { beginOf, linesOf, runnerQuery, seriesQuery, type Range } from './data';
import { RunnerActions } from './RunnerActions';
import { RunnerState } from './RunnerState';
import './fleet.css';

const page = getRouteApi('/inside/runners/$runner');

/** The page. */
export function RunnerPage() {
  const id = Number(page.useParams().runner);
  const { range = '1h' } = page.useSearch();
  const navigate = useNavigate();
  const { data: runner, isError, error, refetch } = useQuery(runnerQuery(id));
  const queries = useQueryClient();
  useFeed((change) => {
    if (change.change === 'runner' || change.change === 'runner_deleted' || change.change === 'reset') void queries.invalidateQueries({ queryKey: ['runners', id] });
  });
  usePageTitle(runner ? `${runner.name}: ${runner.state}` : 'Runner');
  if (isError && asApiError(error).status === 404) {
    return (
      <div className="page">
        <Empty title="There is no such runner">
          It was removed, or never was. <Link to="/runners">Go to the fleet</Link>.
        </Empty>
      </div>
    );
  }
  if (!runner) return <div className="page">{isError ? <Failed error={error} retry={() => void refetch()} /> : <Loading what="Loading the runner" />}</div>;
  return (
    <div className="page fleet">
      <div className="page-head">
        <h1 className="cut">{runner.name}</h1>
        <RunnerState runner={runner} />
        <span className="grow muted cut">{runner.description}</span>
        <RunnerActions runner={runner} prominent onRemoved={() => void navigate({ to: '/runners' })} />
      </div>
      {runner.error && (
        <p className="note bad" role="alert">
          <Icon name="alert" className="tone-bad" /> {runner.error}
        </p>
      )}
      <div className="fleet-split">
        <Facts runner={runner} />
        <Jobs runner={runner} />
      </div>
      <Load
        runner={runner}
        range={range}
        onRange={(next) => void navigate({ to: '/runners/$runner', params: { runner: String(id) }, search: { range: next }, replace: true, resetScroll: false })}
      />
    </div>
  );
}

function Facts({ runner }: { runner: RunnerView }) {
  const { info } = runner;
  const system = info.system;
  const limits = info.limits ?? {};
  const facts: readonly (readonly [string, ReactNode])[] = [
    ['Labels', runner.labels.length > 0 ? <Chips words={runner.labels} /> : 'none'],
    ['Queues', info.queues?.join(', ') || 'default'],
    ['Strongest boundary', info.boundary ?? 'process'],
    ['Slots', runner.slots],
    ['Most that a job gets', [limits.cpus != null && `${limits.cpus} CPUs`, limits.memory_bytes != null && bytes(limits.memory_bytes), limits.pids != null && `${limits.pids} processes`].filter(Boolean).join(', ') || 'everything'],
    ['Machine', system ? `${system.hostname ?? ''} · ${system.os ?? ''} ${system.arch ?? ''} · ${system.cpus ?? 0} CPUs · ${bytes(system.memory_bytes ?? 0)}` : 'unknown'],
    ['Kernel', system?.kernel ?? 'unknown'],
    ['Version', runner.version],
    ['Seen', runner.last_seen_at ? <Ago key="seen" at={runner.last_seen_at} /> : 'never'],
    ['Created', <Ago key="created" at={runner.created_at} />],
    ['Tools', <Chips key="tools" words={Object.entries(info.capabilities ?? {}).map(([tool, version]) => `${tool} ${version}`)} />],
  ];
  return (
    <section className="card" aria-label="About the runner">
      <div className="card-head"><h2>About</h2></div>
      <dl className="card-body facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

/** A job that the runner holds, for its name. */
function jobQuery(id: number) {
  return queryOptions({
    queryKey: ['job', id, 'name'],
    queryFn: ({ signal }) => answer(api.GET('/api/v1/jobs/{id}', { params: { path: { id } }, signal })),
    staleTime: 60_000,
  });
}

function Jobs({ runner }: { runner: RunnerView }) {
  const jobs = useQueries({ queries: runner.jobs.map(jobQuery) });
  const completed = Object.entries(runner.completed ?? {});
  const all = completed.reduce((sum, [, count]) => sum + count, 0);
  return (
    <section className="card" aria-label="Jobs of the runner">
      <div className="card-head">
        <h2 className="grow">Jobs</h2>
        <Link to="/runs" search={{ runner: runner.name }}>Runs that it had</Link>
      </div>
      <div className="card-body stack">
        {runner.jobs.length === 0 ? <p className="muted">It has no job at the moment.</p> : (
          <ul className="stack">
            {jobs.map(({ data: job }, index) => (
              <li key={runner.jobs[index]} className="row">
                {job ? (
                  <>
                    <Link to="/runs/$run/jobs/$job" params={{ run: String(job.run), job: String(job.id) }} className="cut">{job.name}</Link>
                    <span className="muted nowrap">run {job.run}{job.started_at && <>, since <Ago at={job.started_at} /></>}</span>
                  </>
                ) : (
                  <Link to="/jobs/$job/log" params={{ job: String(runner.jobs[index]) }}>Job {runner.jobs[index]}</Link>
                )}
              </li>
            ))}
          </ul>
        )}
        <h3>Completed since it was created</h3>
        {all === 0 ? <p className="muted">None yet.</p> : (
          <dl className="facts">
            {completed.map(([conclusion, count]) => (
              <div key={conclusion}>
                <dt>{conclusion.replace('_', ' ')}</dt>
                <dd>{count.toLocaleString()} ({Math.round((count / all) * 100)} %)</dd>
              </div>
            ))}
          </dl>
        )}
      </div>
    </section>
  );
}

const share = (value: number): string => `${Math.round(value * 100)} %`;
const whole = (value: number): string => value.toLocaleString(undefined, { maximumFractionDigits: 1 });
const NONE: readonly number[] = [];

function Load({ runner, range, onRange }: { runner: RunnerView; range: Range; onRange: (range: Range) => void }) {
  const { data, isError, error, refetch } = useQuery(seriesQuery(`runner:${runner.id}`, range));
  const cpu = useMemo(() => linesOf(data, [['cpu', 'CPU', '--busy']]), [data]);
  const memory = useMemo(() => linesOf(data, [['memory', 'memory in use', '--accent']]), [data]);
  const disk = useMemo(() => linesOf(data, [['disk_free', 'disk free', '--ok']]), [data]);
  const slots = useMemo(() => linesOf(data, [['busy', 'in use', '--busy'], ['slots', 'there are', '--quiet']]), [data]);
  const from = beginOf(data);
  const at = data?.at ?? NONE;
  if (isError) return <Failed error={error} retry={() => void refetch()} />;
  return (
    <section className="stack" aria-labelledby="over-time">
      <div className="section-head">
        <h2 id="over-time" className="grow">Over time</h2>
        <Ranges range={range} onChange={onRange} />
      </div>
      <div className="charts">
        <TimeChart label="CPU" unit="share" at={at} lines={cpu} format={share} from={from} />
        <TimeChart label="Memory" unit="bytes" at={at} lines={memory} format={bytes} from={from} />
        <TimeChart label="Disk of the work directory" unit="bytes" at={at} lines={disk} format={bytes} from={from} />
        <TimeChart label="Slots" unit="count" at={at} lines={slots} format={whole} from={from} />
      </div>
    </section>
  );
}
