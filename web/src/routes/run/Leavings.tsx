/** What the jobs of a run left behind: annotations, summaries, artifacts; and what the run was given. */
import { useQuery } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { ArtifactView, RunView } from '../../api/types';
import { bytes } from '../../lib/bytes';
import { Icon } from '../../ui/Icon';
import { Markdown } from '../../ui/Markdown';
import { Failed } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { Annotations } from './Annotations';
import { artifactsQuery, reportQuery } from './data';
import { wordsOf } from './matrix';

/** The parts that there are. */
export function Leavings({ run }: { run: RunView }) {
  const report = useQuery(reportQuery(run.id));
  const artifacts = useQuery(artifactsQuery(run.id));
  const inputs = Object.entries(run.inputs ?? {});
  const { annotations = [], summaries = [], truncated = false } = report.data ?? {};
  return (
    <>
      {(report.isError || artifacts.isError) && <Failed error={report.error ?? artifacts.error} retry={() => { void report.refetch(); void artifacts.refetch(); }} />}
      {annotations.length > 0 && (
        <Part title="Annotations" count={annotations.length}>
          <Annotations all={annotations.map(({ annotation, job, job_name: name }) => ({ annotation, job: { id: job, run: run.id, name } }))} />
          {truncated && <p className="muted card-body">There are more; each job shows its own.</p>}
        </Part>
      )}
      {(artifacts.data?.length ?? 0) > 0 && (
        <Part title="Artifacts" count={artifacts.data?.length ?? 0}>
          <Artifacts all={artifacts.data ?? []} />
        </Part>
      )}
      {summaries.map((summary) => (
        <Part key={`${summary.job}-${summary.step}`} title={`Summary of ${summary.job_name}`}>
          <div className="card-body">
            <Markdown text={summary.text} />
          </div>
        </Part>
      ))}
      {inputs.length > 0 && (
        <Part title="Inputs" count={inputs.length}>
          <dl className="pairs">
            {inputs.map(([name, value]) => (
              <div key={name}>
                <dt className="mono">{name}</dt>
                <dd className="mono">{wordsOf(value)}</dd>
              </div>
            ))}
          </dl>
        </Part>
      )}
    </>
  );
}

function Part({ title, count, children }: { title: string; count?: number; children: ReactNode }) {
  return (
    <section className="card" aria-label={title}>
      <div className="card-head">
        <h2>{title}</h2>
        {count !== undefined && <span className="chip">{count}</span>}
      </div>
      {children}
    </section>
  );
}

function Artifacts({ all }: { all: readonly ArtifactView[] }) {
  return (
    <ul className="artifacts">
      {all.map((artifact) => (
        <li key={artifact.id}>
          <Icon name="box" className="tone-quiet" />
          <span className="grow cut">{artifact.name}</span>
          <span className="muted nowrap">{bytes(artifact.size)}</span>
          <span className="muted hide-narrow">
            until <Ago at={artifact.expires_at} />
          </span>
          <a className="button small" href={`/api/v1/artifacts/${artifact.id}/download`} download aria-label={`Download ${artifact.name}`}>
            <Icon name="download" /> <span className="hide-narrow">Download</span>
          </a>
        </li>
      ))}
    </ul>
  );
}
