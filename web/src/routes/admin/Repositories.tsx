/** Repositories that start runs: their webhooks, and every delivery with what became of it. */
import { queryOptions, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { AddedRepository, DeliveryOutcome, DeliveryView, ForgeKind, RepositoryView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Dialog } from '../../ui/Dialog';
import { Choice, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Pages, usePages } from '../../ui/Pages';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { Once } from '../../ui/Once';
import { useDo } from '../../lib/act';
import { Fetched, Matter, Remove } from './parts';

const FORGES: readonly { value: ForgeKind | ''; label: string }[] = [
  { value: '', label: 'As the address suggests' },
  { value: 'github', label: 'GitHub' },
  { value: 'gitea', label: 'Gitea' },
  { value: 'forgejo', label: 'Forgejo' },
  { value: 'gitlab', label: 'GitLab' },
];

const repositoriesQuery = queryOptions({
  queryKey: ['repositories'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/repos', { signal }))).items,
});

/** The page. */
export function Repositories() {
  const repositories = useQuery(repositoriesQuery);
  const [adding, setAdding] = useState(false);
  const [added, setAdded] = useState<AddedRepository | null>(null);
  const [shown, setShown] = useState<RepositoryView | null>(null);
  const columns: readonly Column<RepositoryView>[] = [
    { head: 'Repository', cell: (row) => <a href={row.web_url} rel="noreferrer noopener">{row.name}</a> },
    { head: 'Forge', cell: (row) => row.forge, wide: true },
    { head: 'Project', cell: (row) => row.project, wide: true },
    { head: 'Hears by', cell: (row) => (row.poll_seconds ? `asking every ${row.poll_seconds} s` : 'webhook') },
    { head: 'State', cell: (row) => (row.error ? <span className="tone-bad">{row.error}</span> : <span className="status tone-ok"><Icon name="check" /> fine</span>) },
    {
      head: '',
      cell: (row) => (
        <span className="row">
          <button type="button" className="button ghost small" aria-label={`Deliveries of ${row.name}`} onClick={() => setShown(row)}>
            Deliveries
          </button>
          <Remove what={`repository ${row.name}`} consequence="Its events start nothing any more. Runs stay." keys={['repositories']}
            work={() => answer(api.DELETE('/api/v1/repos/{id}', { params: { path: { id: row.id } } }))} />
        </span>
      ),
    },
  ];
  return (
    <Matter
      title="Repositories"
      intro="Pushes, pull requests and schedules of these repositories start runs of their workflows."
      action={
        <button type="button" className="button primary" onClick={() => setAdding(true)}>
          <Icon name="plus" /> Add a repository
        </button>
      }
    >
      <Fetched query={repositories}>
        {(rows) => (
          <DataTable label="Repositories" columns={columns} rows={rows} id={(row) => row.id}
            empty={<Empty title="No repositories" commands={['fleetfoot repo add https://git.example.org/acme/app.git --token-file token']} />} />
        )}
      </Fetched>
      {adding && <Add onClose={() => setAdding(false)} onAdded={setAdded} />}
      {added && <Added added={added} onClose={() => setAdded(null)} />}
      {shown && (
        <Dialog open size="wide" onOpenChange={() => setShown(null)} title={`Deliveries of ${shown.name}`}>
          <Deliveries repository={shown} />
        </Dialog>
      )}
    </Matter>
  );
}

function Add({ onClose, onAdded }: { onClose: () => void; onAdded: (added: AddedRepository) => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const text = texts(form);
    const poll = text('poll');
    const body = {
      url: text('url') ?? '',
      forge: (text('forge') as ForgeKind | undefined) ?? null,
      project: text('project') ?? null,
      token: text('token') ?? null,
      poll_seconds: poll ? Number(poll) : null,
      create_webhook: !poll,
    };
    onAdded(await answer(api.POST('/api/v1/repos', { body })));
    await queries.invalidateQueries({ queryKey: ['repositories'] });
  };
  return (
    <FormDialog title="Add a repository" description="The forge is asked first, so a wrong address or token shows at once." action="Add" onClose={onClose} submit={submit}>
      <Field label="Address" name="url" type="url" required placeholder="https://git.example.org/acme/app.git" />
      <Choice label="Forge" name="forge" choices={FORGES} defaultValue="" />
      <Field label="Access token" name="token" type="password" help="For private repositories, for statuses at commits, and for making the webhook." />
      <Field label="Project" name="project" placeholder="default" />
      <Field label="Ask for news every … seconds" name="poll" type="number" min={10} help="Empty: by webhook." />
    </FormDialog>
  );
}

function Added({ added, onClose }: { added: AddedRepository; onClose: () => void }) {
  return (
    <Dialog open onOpenChange={onClose} title={`${added.repository.name} was added`}>
      {added.webhook_created ? (
        <p>The webhook was made at the forge. The next push starts runs.</p>
      ) : (
        <>
          {added.webhook_error && <p className="muted">The webhook could not be made: {added.webhook_error}</p>}
          <p>Enter this address and secret as a webhook at the forge (content type JSON, all events). The secret is shown this once.</p>
          <Once text={added.webhook_url} label="Address of the webhook" />
          <Once text={added.webhook_secret} label="Secret of the webhook" />
        </>
      )}
    </Dialog>
  );
}

const TONES: Record<DeliveryOutcome, string> = { started: 'tone-ok', queued: 'tone-wait', ignored: 'tone-quiet', failed: 'tone-bad' };

function deliveryColumns(again: (delivery: DeliveryView) => void): readonly Column<DeliveryView>[] {
  return [
    { head: 'Came', cell: (row) => <Ago at={row.received_at} /> },
    { head: 'Event', cell: (row) => <code>{row.event}</code> },
    { head: 'Outcome', cell: (row) => <span className={`status ${TONES[row.outcome]}`}>{row.outcome}</span> },
    {
      head: 'What it did',
      cell: (row) => (
        <>
          {row.runs.map((run) => (
            <a key={run} href={`/ui/runs/${run}`} className="nowrap">Run {run} </a>
          ))}
          {row.error && <p className="tone-bad">{row.error}</p>}
          {row.notes.map((note) => (
            <p key={note} className="muted">{note}</p>
          ))}
        </>
      ),
    },
    {
      head: '',
      cell: (row) => (
        <button type="button" className="button ghost small" aria-label={`Carry out delivery ${row.id} again`} onClick={() => again(row)}>
          Again
        </button>
      ),
    },
  ];
}

function Deliveries({ repository }: { repository: RepositoryView }) {
  const act = useDo();
  const path = { id: repository.id };
  const deliveries = usePages(
    ['deliveries', repository.id],
    (cursor, signal) => answer(api.GET('/api/v1/repos/{id}/deliveries', { params: { path, query: { limit: 50, ...(cursor ? { cursor } : {}) } }, signal })),
    5_000,
  );
  const again = ({ id: delivery }: DeliveryView): void => {
    const request = () => answer(api.POST('/api/v1/repos/{id}/deliveries/{delivery}/redeliver', { params: { path: { ...path, delivery } } }));
    void act('Redelivering', request, 'It is carried out again', ['deliveries']);
  };
  return (
    <Pages of={deliveries} more="Older">
      {(rows) => (
        <DataTable label="Deliveries" columns={deliveryColumns(again)} rows={rows} id={(row) => row.id}
          empty={<Empty title="Nothing came yet">Push a commit, or send a test delivery from the settings of the webhook at the forge.</Empty>} />
      )}
    </Pages>
  );
}
