/** One job: how it stands, why it waits, its attempts, and its log. */
import { useQuery } from '@tanstack/react-query';
import { getRouteApi, useNavigate, useRouterState } from '@tanstack/react-router';
import { lazy, Suspense } from 'react';
import type { AttemptView, JobView, RunView } from '../../api/types';
import { millis, duration } from '../../lib/time';
import { useMay } from '../../lib/session';
import { usePageTitle } from '../../lib/title';
import { Icon } from '../../ui/Icon';
import { Markdown } from '../../ui/Markdown';
import { Menu, MenuItem } from '../../ui/Menu';
import { Empty, Failed, Loading } from '../../ui/states';
import { standing, StatusIcon, StatusWord } from '../../ui/Status';
import { Ago, Lasted } from '../../ui/Time';
import { Annotations } from './Annotations';
import { jobQuery, runQuery, useSteering } from './data';
import { WhyCard } from './WhyCard';

const LogView = lazy(() => import('../../log/LogView').then((module) => ({ default: module.LogView })));
const page = getRouteApi('/inside/runs/$run/jobs/$job');

/** The page. The run's stream keeps the job within the run true; attempts are read when it changes. */
export function JobPage() {
  const params = page.useParams();
  const id = Number(params.job);
  const { data: run } = useQuery(runQuery(Number(params.run)));
  const { data: full, error, refetch } = useQuery(jobQuery(id));
  const live = run?.jobs?.find((job) => job.id === id);
  if (!run || (!live && !full)) return error ? <Failed error={error} retry={() => void refetch()} /> : <Loading what="Loading the job" />;
  const job = { ...full, ...live, attempts: full?.attempts ?? [] } as JobView;
  return <Job key={id} run={run} job={job} />;
}

function Job({ run, job }: { run: RunView; job: JobView }) {
  const { attempt: asked } = page.useSearch();
  const attempts = job.attempts ?? [];
  const current = attempts.find((each) => each.attempt === (asked ?? job.attempt));
  const old = asked !== undefined && asked !== job.attempt;
  const is = standing(job);
  usePageTitle(`${is.word}: ${job.name} · ${run.title} #${run.number}`, is.page);
  const hash = useRouterState({ select: (state) => state.location.hash });
  const waits = job.status === 'waiting' || job.status === 'queued';
  const steps = old ? (current?.steps ?? []) : (job.steps ?? []);
  const failed = steps.find((step) => step.conclusion === 'failure' || step.conclusion === 'timed_out');
  const annotations = current?.annotations ?? [];
  return (
    <>
      <section className="card" aria-label={`Job ${job.name}`}>
        <Head run={run} job={job} attempt={current} old={old} />
        {(old ? current?.message : job.message) && (
          <p className="job-message">
            <Icon name="note" className={`tone-${is.tone}`} /> {old ? current?.message : job.message}
          </p>
        )}
      </section>
      {waits && <WhyCard job={job.id} />}
      {annotations.length > 0 && (
        <section className="card" aria-label="Annotations">
          <Annotations all={annotations.map((annotation) => ({ annotation }))} />
        </section>
      )}
      {job.started_at == null ? (
        !waits && (
          <div className="card">
            <Empty title="This job never started">There is no log.</Empty>
          </div>
        )
      ) : (
        <div className="card job-log">
          <Suspense fallback={<Loading what="Loading the log" />}>
            <LogView jobId={job.id} attempt={asked} failedStep={failed?.index} lineHash={hash === '' ? undefined : `#${hash}`} />
          </Suspense>
        </div>
      )}
      {current && <Details job={job} attempt={current} />}
    </>
  );
}

function Head({ run, job, attempt, old }: { run: RunView; job: JobView; attempt: AttemptView | undefined; old: boolean }) {
  const may = useMay('member');
  const { cancelJob } = useSteering(run);
  const begin = millis(old ? attempt?.leased_at : job.started_at);
  const steps = old ? attempt?.steps : job.steps;
  const first = millis(attempt?.started_at) ?? millis(steps?.find((step) => step.started_at != null)?.started_at);
  const queued = millis(job.queued_at);
  return (
    <div className="job-head">
      <div className="row">
        <h2 className="grow cut" title={job.name}>
          {job.name}
        </h2>
        <Attempts run={run} job={job} />
        {may && job.status !== 'completed' && (
          <button type="button" className="button danger" disabled={job.cancel_requested || cancelJob.isPending} onClick={() => cancelJob.mutate(job.id)}>
            <Icon name="stop" /> {job.cancel_requested ? 'Cancelling…' : 'Cancel job'}
          </button>
        )}
      </div>
      <p className="row wrap muted job-facts">
        <StatusWord of={old && attempt ? standing({ status: attempt.finished ? 'completed' : 'running', conclusion: attempt.conclusion ?? null }) : standing(job)} />
        {begin !== null && (
          <span>
            <Lasted from={old ? attempt?.leased_at : job.started_at} to={old ? attempt?.finished_at : job.finished_at} />
          </span>
        )}
        {!old && queued !== null && begin !== null && begin > queued && <span>waited {duration(begin - queued)}</span>}
        {begin !== null && first !== null && first > begin && <span>set-up {duration(first - begin)}</span>}
        {job.runner_name && <span>on {job.runner_name}</span>}
        {job.exit_code != null && job.exit_code !== 0 && <span>exit code {job.exit_code}</span>}
        {job.labels.map((label) => (
          <span key={label} className="chip mono">
            {label}
          </span>
        ))}
      </p>
    </div>
  );
}

function Attempts({ run, job }: { run: RunView; job: JobView }) {
  const navigate = useNavigate();
  const { attempt: asked } = page.useSearch();
  const attempts = [...(job.attempts ?? [])].reverse();
  if (attempts.length < 2) return null;
  const shown = asked ?? job.attempt;
  return (
    <Menu
      trigger={
        <button type="button" className="button">
          Attempt {shown} of {attempts.length} <Icon name="down" />
        </button>
      }
    >
      {attempts.map((each) => (
        <MenuItem
          key={each.attempt}
          onSelect={() => void navigate({
            to: '/runs/$run/jobs/$job',
            params: { run: String(run.id), job: String(job.id) },
            search: each.attempt === job.attempt ? {} : { attempt: each.attempt },
          })}
        >
          <StatusIcon of={standing({ status: each.finished ? 'completed' : 'running', conclusion: each.conclusion ?? null })} />
          <span className="grow">Attempt {each.attempt}</span>
          <span className="muted">
            <Ago at={each.leased_at} />
          </span>
          {each.attempt === shown && <Icon name="check" label="shown" />}
        </MenuItem>
      ))}
    </Menu>
  );
}

function Details({ job, attempt }: { job: JobView; attempt: AttemptView }) {
  const boundary = attempt.boundary;
  const outputs = Object.entries(job.outputs ?? {});
  const facts: [string, string | null | undefined][] = [
    ['Boundary', boundary?.boundary],
    ['Driver', boundary?.driver],
    ['Image', boundary?.image],
    ['User', boundary?.user],
    ['Network', boundary?.network],
    ['Held by', boundary?.containment],
    ['Namespaces', boundary?.namespaces?.join(', ')],
    ['Limits', Object.entries(boundary?.limits ?? {}).map(([name, value]) => `${name} ${value}`).join(', ')],
    ['Kernel', boundary?.kernel],
    ['Queue', job.queue],
  ];
  return (
    <>
      {(attempt.summaries ?? []).map(([step, text]) => (
        <section key={step} className="card" aria-label="Summary">
          <div className="card-head">
            <h2>Summary</h2>
          </div>
          <div className="card-body">
            <Markdown text={text} />
          </div>
        </section>
      ))}
      <details className="card job-details">
        <summary>Isolation, outputs and more</summary>
        <dl className="pairs">
          {attempt.environment_url && /^https?:/.test(attempt.environment_url) && (
            <div>
              <dt>Deployed to</dt>
              <dd>
                <a href={attempt.environment_url} target="_blank" rel="noopener noreferrer">
                  {attempt.environment_url}
                </a>
              </dd>
            </div>
          )}
          {facts.map(([name, value]) =>
            value ? (
              <div key={name}>
                <dt>{name}</dt>
                <dd className="mono">{value}</dd>
              </div>
            ) : null,
          )}
          {outputs.map(([name, value]) => (
            <div key={`output ${name}`}>
              <dt>
                Output <span className="mono">{name}</span>
              </dt>
              <dd className="mono">{value}</dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  );
}
