/** What of a run waits for somebody's word, and the buttons that give it. */
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import type { ApprovalView, RunView } from '../../api/types';
import { useMay } from '../../lib/session';
import { Dialog } from '../../ui/Dialog';
import { Icon } from '../../ui/Icon';
import { approvalsQuery, useSteering } from './data';

type Verdict = 'approve' | 'reject';

/** One box for each approval that is pending. */
export function Approvals({ run }: { run: RunView }) {
  const { data } = useQuery({ ...approvalsQuery(run.id), enabled: run.status !== 'completed' });
  const may = useMay('member');
  const [asked, setAsked] = useState<{ approval: ApprovalView; verdict: Verdict } | null>(null);
  if (run.status === 'completed' || !data || data.length === 0) return null;
  return (
    <section aria-label="Approvals" className="approvals">
      {data.map((approval) => (
        <div key={approval.id} className="note wait">
          <Icon name="pause" className="tone-wait" />
          <div className="grow">
            <p>
              <strong>{approval.job_name ?? 'This run'}</strong> waits for approval
              {approval.environment && (
                <>
                  {' '}to use the environment <strong>{approval.environment}</strong>
                </>
              )}
              .
            </p>
            <p className="muted">
              {approval.reason && `${approval.reason} `}
              {approval.reviewers.length > 0
                ? `Reviewers: ${approval.reviewers.join(', ')}.`
                : approval.job == null
                  ? 'Every member may decide.'
                  : 'Every admin may decide.'}
            </p>
          </div>
          {may && (
            <span className="row">
              <button type="button" className="button" onClick={() => setAsked({ approval, verdict: 'reject' })}>
                Reject
              </button>
              <button type="button" className="button primary" onClick={() => setAsked({ approval, verdict: 'approve' })}>
                Approve
              </button>
            </span>
          )}
        </div>
      ))}
      {asked && <ReviewDialog run={run} asked={asked} onClose={() => setAsked(null)} />}
    </section>
  );
}

function ReviewDialog({ run, asked, onClose }: { run: RunView; asked: { approval: ApprovalView; verdict: Verdict }; onClose: () => void }) {
  const { review } = useSteering(run);
  const { approval, verdict } = asked;
  const what = approval.job_name ?? 'the run';
  const result = verdict === 'approve' ? 'It starts as soon as a runner is free.' : approval.job == null ? 'The run is cancelled.' : 'The job fails.';
  return (
    <Dialog open onOpenChange={(open) => !open && onClose()} title={verdict === 'approve' ? `Approve ${what}?` : `Reject ${what}?`} description={result}>
      <form
        className="stack"
        onSubmit={(event) => {
          event.preventDefault();
          const comment = String(new FormData(event.currentTarget).get('comment') ?? '').trim();
          review.mutate({ approval, verdict, comment }, { onSettled: onClose });
        }}
      >
        <div className="field">
          <label htmlFor="comment">Comment (optional)</label>
          <input id="comment" name="comment" className="input" autoComplete="off" />
          <span className="help">Kept with the decision.</span>
        </div>
        <div className="dialog-actions">
          <button type="button" className="button" onClick={onClose}>
            Decide later
          </button>
          <button type="submit" className={verdict === 'approve' ? 'button primary' : 'button primary danger'} disabled={review.isPending}>
            {verdict === 'approve' ? 'Approve' : 'Reject'}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
