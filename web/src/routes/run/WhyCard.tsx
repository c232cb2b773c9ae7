/** Why a job waits, in words, with the runners that come nearest and what each lacks. */
import { useQuery } from '@tanstack/react-query';
import { Link } from '@tanstack/react-router';
import type { Candidate, RunnerState, Why, WhyReason } from '../../api/types';
import { exactly, millis } from '../../lib/time';
import { Icon } from '../../ui/Icon';
import { Failed, Loading } from '../../ui/states';
import { RunnerStateWord } from '../fleet/RunnerState';
import { whyQuery } from './data';

/** The card; it asks again every few seconds. */
export function WhyCard({ job }: { job: number }) {
  const { data, error, isPending, refetch } = useQuery(whyQuery(job));
  if (isPending) return <Loading what="Asking why it waits" />;
  if (!data) return <Failed error={error} retry={() => void refetch()} />;
  const nearest = nearestOf(data);
  return (
    <section className="card" aria-label="Why it waits">
      <div className="card-head">
        <Icon name="clock" className="tone-wait" />
        <h2>Why it waits</h2>
      </div>
      <div className="card-body stack">
        <p>{data.summary}</p>
        {data.reasons.length > 1 && (
          <ul className="reasons">
            {data.reasons.map((reason, index) => (
              <li key={index}>{inWords(reason)}</li>
            ))}
          </ul>
        )}
        {nearest.length > 0 && (
          <div className="matrix">
            <table>
              <caption>The runners that come nearest</caption>
              <thead>
                <tr>
                  <th scope="col">Runner</th>
                  <th scope="col">State</th>
                  <th scope="col">What it lacks</th>
                </tr>
              </thead>
              <tbody>
                {nearest.map((runner) => (
                  <tr key={runner.runner}>
                    <th scope="row">
                      <Link to="/runners/$runner" params={{ runner: String(runner.runner) }}>{runner.name}</Link>
                    </th>
                    <td>{runner.state && <RunnerStateWord state={runner.state} />}</td>
                    <td>
                      {runner.lacks.length === 0 ? <span className="tone-ok">nothing</span> : (
                        <span className="row wrap">
                          {runner.lacks.map((lack, index) => (
                            <span key={index} className="chip">{lack}</span>
                          ))}
                        </span>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
        <Holder reasons={data.reasons} />
      </div>
    </section>
  );
}

interface Near {
  readonly runner: number;
  readonly name: string;
  readonly state?: RunnerState;
  readonly lacks: readonly string[];
}

const KINDS: Record<Candidate['lacks'][number]['kind'], string> = {
  queue: 'queue', labels: 'label', boundary: 'boundary', limits: 'limit', version: 'version', error: 'error',
  draining: 'draining', offline: 'offline', busy: 'busy',
};

function nearestOf(why: Why): Near[] {
  if (why.nearest && why.nearest.length > 0) {
    return why.nearest.map((candidate) => ({
      ...candidate,
      lacks: candidate.lacks.flatMap((lack) => (lack.words.length > 0 ? lack.words.map((word) => `${KINDS[lack.kind]}: ${word}`) : [KINDS[lack.kind]])),
    }));
  }
  return why.reasons.flatMap((reason) => ('nearest' in reason ? reason.nearest : []));
}

/** One reason as a sentence. */
export function inWords(reason: WhyReason): string {
  switch (reason.code) {
    case 'needs': return `It needs jobs that have not ended: ${reason.jobs.join(', ')}.`;
    case 'no_runner_online': return 'No runner is connected.';
    case 'queue_not_served': return `No connected runner takes jobs of the queue ${reason.queue}.`;
    case 'labels_not_offered': return reason.nobody_offers.length > 0 ? `Nobody in the fleet offers ${reason.nobody_offers.join(', ')}.` : 'No single runner offers all of its labels.';
    case 'boundary_not_offered': return `No matching runner reaches the boundary ${reason.minimum}${reason.best ? `; the best offers ${reason.best}` : ''}.`;
    case 'limits_not_allowed': return 'It asks for more than any matching runner allows.';
    case 'runners_busy': return `Matching runners are busy${reason.ahead > 0 ? `, and ${reason.ahead} ${reason.ahead === 1 ? 'job goes' : 'jobs go'} first` : ''}.`;
    case 'runners_unavailable': return 'Matching runners are draining or report an error.';
    case 'version_too_old': return 'Matching runners have a version too far from that of the server.';
    case 'concurrency_group': return `Its concurrency group ${reason.group} already has a running member.`;
    case 'max_parallel': return `As many jobs of its matrix run as are allowed (${reason.limit}).`;
    case 'retry_delay': return `It is tried again at ${exactly(millis(reason.until) ?? 0)}.`;
    case 'approval': return reason.environment ? `Somebody has to approve its use of ${reason.environment}.` : 'Somebody has to approve the run.';
    case 'wait_timer': return `The wait timer of ${reason.environment} ends at ${exactly(millis(reason.until) ?? 0)}.`;
    case 'ready': return 'A runner is free and takes it any moment.';
    default: return 'Something that this page does not know yet; the sentence above says it.';
  }
}

function Holder({ reasons }: { reasons: readonly WhyReason[] }) {
  const group = reasons.find((reason) => reason.code === 'concurrency_group');
  if (group?.code !== 'concurrency_group' || group.holder_run == null) return null;
  return (
    <p>
      <Link to="/runs/$run" params={{ run: String(group.holder_run) }}>
        See the run that holds {group.group}
      </Link>
    </p>
  );
}
