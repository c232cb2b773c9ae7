/** The head of a run: what it is, how it stands, and what can be done to it. */
import { useQuery } from '@tanstack/react-query';
import { Link, useNavigate } from '@tanstack/react-router';
import { useState } from 'react';
import type { RunView } from '../../api/types';
import { useMay } from '../../lib/session';
import { ConfirmDialog } from '../../ui/ConfirmDialog';
import { Icon } from '../../ui/Icon';
import { Menu, MenuItem } from '../../ui/Menu';
import { type Standing, standing, StatusIcon } from '../../ui/Status';
import { Ago, Lasted } from '../../ui/Time';
import { attemptsQuery, useSteering } from './data';

/** The head. */
export function RunHeader({ run, is }: { run: RunView; is: Standing }) {
  return (
    <header className="run-head">
      <div className="run-head-line">
        <span className={`run-badge tone-${is.tone}`}>
          <StatusIcon of={is} silent />
        </span>
        <div className="grow">
          <h1 className="run-head-title">
            {run.title} <span className="muted">#{run.number}</span>
          </h1>
          <p className="muted run-head-sub">
            <strong className={`tone-${is.tone}`}>{is.word}</strong>
            {run.started_at ? (
              <span>
                <span className="visually-hidden">Duration </span>
                <Lasted from={run.started_at} to={run.finished_at} />
              </span>
            ) : null}
            <span>
              {run.event}
              {run.actor && ` by ${run.actor}`}, <Ago at={run.created_at} />
            </span>
          </p>
        </div>
        <Actions run={run} />
      </div>
      <Facts run={run} />
    </header>
  );
}

function Facts({ run }: { run: RunView }) {
  const sha = run.sha ?? run.repository?.sha;
  return (
    <dl className="facts">
      <Fact name="Workflow">
        <Link to="/runs" search={{ workflow: run.name, project: run.project }}>
          {run.name}
        </Link>
      </Fact>
      <Fact name="Project">
        <Link to="/runs" search={{ project: run.project }}>
          {run.project}
        </Link>
      </Fact>
      {run.branch && (
        <Fact name="Branch">
          <Link to="/runs" search={{ branch: run.branch }} className="row">
            <Icon name="branch" /> <span className="mono">{run.branch}</span>
          </Link>
        </Fact>
      )}
      {sha && (
        <Fact name="Commit">
          <span className="row">
            <Icon name="commit" /> <span className="mono" title={sha}>{sha.slice(0, 10)}</span>
          </span>
        </Fact>
      )}
      {run.repository?.name && <Fact name="Repository">{run.repository.name}</Fact>}
      {run.path && (
        <Fact name="File">
          <span className="mono">{run.path}</span>
        </Fact>
      )}
      {(run.attempt > 1 || run.rerun_of != null || run.status === 'completed') && (
        <Fact name="Attempt">
          <Attempts run={run} />
        </Fact>
      )}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: React.ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

function Attempts({ run }: { run: RunView }) {
  const navigate = useNavigate();
  const { data: all = [] } = useQuery(attemptsQuery(run.id));
  const newest = all[0]?.attempt ?? run.attempt;
  if (all.length < 2) return <>{run.attempt}</>;
  return (
    <Menu
      align="start"
      trigger={
        <button type="button" className="button ghost small attempts" aria-label={`Attempt ${run.attempt} of ${newest}; show others`}>
          {run.attempt} of {newest} <Icon name="down" />
        </button>
      }
    >
      {all.map((other) => (
        <MenuItem key={other.id} onSelect={() => void navigate({ to: '/runs/$run', params: { run: String(other.id) } })}>
          <StatusIcon of={standing(other)} />
          <span className="grow">Attempt {other.attempt}</span>
          <span className="muted">
            <Ago at={other.created_at} />
          </span>
          {other.id === run.id && <Icon name="check" label="shown" />}
        </MenuItem>
      ))}
    </Menu>
  );
}

function Actions({ run }: { run: RunView }) {
  const may = useMay('member');
  const navigate = useNavigate();
  const [asking, setAsking] = useState(false);
  const { cancel, rerun } = useSteering(run);
  if (!may) return null;
  const again = (how: { failed_only?: boolean; debug?: boolean }): void =>
    rerun.mutate(how, { onSuccess: ({ run: id }) => void navigate({ to: '/runs/$run', params: { run: String(id) } }) });
  if (run.status !== 'completed') {
    return (
      <>
        <button type="button" className="button danger" disabled={cancel.isPending || run.cancel_requested} onClick={() => setAsking(true)}>
          <Icon name="stop" /> {run.cancel_requested ? 'Cancelling…' : 'Cancel run'}
        </button>
        <ConfirmDialog
          open={asking}
          onOpenChange={setAsking}
          title="Cancel this run?"
          text="Running steps are asked to end; jobs that wait never start. What ran until now stays."
          act="Cancel run"
          keep="Keep running"
          onConfirm={() => cancel.mutate()}
        />
      </>
    );
  }
  const failed = run.jobs?.some((job) => job.conclusion !== 'success' && job.conclusion !== 'skipped') ?? run.conclusion !== 'success';
  return (
    <Menu
      trigger={
        <button type="button" className="button" disabled={rerun.isPending}>
          <Icon name="repeat" /> Run again <Icon name="down" />
        </button>
      }
    >
      <MenuItem icon="repeat" onSelect={() => again({})}>
        All jobs
      </MenuItem>
      <MenuItem icon="alert" disabled={!failed} onSelect={() => again({ failed_only: true })}>
        Failed jobs and what needs them
      </MenuItem>
      <MenuItem icon="note" onSelect={() => again({ debug: true })}>
        All jobs, with debug output
      </MenuItem>
    </Menu>
  );
}
