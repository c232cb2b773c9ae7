/** API and registration tokens: who may act, until when. A token itself is shown once. */
import { queryOptions, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { CreatedToken, TokenKind, TokenView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Dialog } from '../../ui/Dialog';
import { Choice, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { Once } from '../../ui/Once';
import { Fetched, Matter, Remove } from './parts';

const DAY = 86_400;
const KINDS: readonly { value: TokenKind; label: string }[] = [
  { value: 'member', label: 'Member: submit and steer runs' },
  { value: 'read_only', label: 'Read-only: look' },
  { value: 'admin', label: 'Admin: everything' },
  { value: 'registration', label: 'Registration: register runners' },
];
const LIFETIMES = [
  { value: '30', label: '30 days' },
  { value: '90', label: '90 days' },
  { value: '365', label: 'A year' },
  { value: '', label: 'For ever' },
] as const;

const tokensQuery = queryOptions({
  queryKey: ['tokens'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/tokens', { signal }))).items,
});

const COLUMNS: readonly Column<TokenView>[] = [
  { head: 'Name', cell: (token) => token.name || <span className="muted">no name</span> },
  { head: 'Kind', cell: (token) => token.kind.replace('_', '-') },
  { head: 'Begins with', cell: (token) => <code>{token.prefix}…</code>, wide: true },
  { head: 'Created', cell: (token) => <Ago at={token.created_at} />, wide: true },
  { head: 'Last used', cell: (token) => (token.last_used_at ? <Ago at={token.last_used_at} /> : <span className="muted">never</span>) },
  { head: 'Expires', cell: (token) => (token.expires_at ? <Ago at={token.expires_at} /> : <span className="muted">never</span>) },
  {
    head: '',
    cell: (token) => (
      <Remove
        what={`token ${token.name || token.prefix}`}
        verb="Revoke"
        consequence="Whoever uses it is refused from now on, and sessions that were opened with it end."
        keys={['tokens']}
        work={() => answer(api.DELETE('/api/v1/tokens/{id}', { params: { path: { id: token.id } } }))}
      />
    ),
  },
];

/** The page. */
export function Tokens() {
  const tokens = useQuery(tokensQuery);
  const [creating, setCreating] = useState(false);
  const [created, setCreated] = useState<CreatedToken | null>(null);
  return (
    <Matter
      title="Tokens"
      intro="What scripts, the command line and new runners show to be let in. The server keeps a hash alone."
      action={
        <button type="button" className="button primary" onClick={() => setCreating(true)}>
          <Icon name="plus" /> Create a token
        </button>
      }
    >
      <Fetched query={tokens}>
        {(rows) => (
          <DataTable
            label="Tokens"
            columns={COLUMNS}
            rows={rows}
            id={(token) => token.id}
            empty={<Empty title="No tokens" commands={['fleetfoot token create --kind member --name ci']} />}
          />
        )}
      </Fetched>
      {creating && <Create onClose={() => setCreating(false)} onCreated={setCreated} />}
      {created && (
        <Dialog open onOpenChange={() => setCreated(null)} title="The new token" description="It is shown this once. Keep it where secrets are kept.">
          <Once text={created.token} label="Token" />
        </Dialog>
      )}
    </Matter>
  );
}

function Create({ onClose, onCreated }: { onClose: () => void; onCreated: (token: CreatedToken) => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const text = texts(form);
    const days = text('days');
    const body = {
      kind: (text('kind') ?? 'member') as TokenKind,
      name: text('name') ?? '',
      expires_in_seconds: days ? Number(days) * DAY : null,
    };
    onCreated(await answer(api.POST('/api/v1/tokens', { body })));
    await queries.invalidateQueries({ queryKey: ['tokens'] });
  };
  return (
    <FormDialog title="Create a token" action="Create" onClose={onClose} submit={submit}>
      <Field label="Name" name="name" required maxLength={100} placeholder="ci" help="Says later whose it is." />
      <Choice label="Kind" name="kind" choices={KINDS} defaultValue="member" />
      <Choice label="Good for" name="days" choices={LIFETIMES} defaultValue="90" />
    </FormDialog>
  );
}
