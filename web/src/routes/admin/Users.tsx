/** People who sign in: role, password, whether they may. */
import { queryOptions, useQuery, useQueryClient } from '@tanstack/react-query';
import { useState } from 'react';
import { answer, api } from '../../api/client';
import type { Role, UserView } from '../../api/schema.gen';
import { DataTable, type Column } from '../../ui/DataTable';
import { Choice, Field, FormDialog, texts } from '../../ui/form';
import { Icon } from '../../ui/Icon';
import { Menu, MenuItem } from '../../ui/Menu';
import { Empty } from '../../ui/states';
import { Ago } from '../../ui/Time';
import { useDo } from '../../lib/act';
import { Fetched, Matter, Remove } from './parts';

const ROLES: readonly { value: Role; label: string }[] = [
  { value: 'member', label: 'Member: submit and steer runs' },
  { value: 'read_only', label: 'Read-only: look' },
  { value: 'admin', label: 'Admin: everything' },
];

const usersQuery = queryOptions({
  queryKey: ['users'],
  queryFn: async ({ signal }) => (await answer(api.GET('/api/v1/users', { signal }))).items,
});

type Asked = { what: 'create' } | { what: 'role' | 'password'; user: UserView };

/** The page. */
export function Users() {
  const users = useQuery(usersQuery);
  const [asked, setAsked] = useState<Asked | null>(null);
  const columns: readonly Column<UserView>[] = [
    {
      head: 'Name',
      cell: (user) => (
        <span>
          <strong>{user.name}</strong> {user.display_name !== '' && <span className="muted">{user.display_name}</span>}
        </span>
      ),
    },
    { head: 'Role', cell: (user) => user.role.replace('_', '-') },
    { head: 'Signs in with', cell: (user) => waysOf(user), wide: true },
    { head: 'Last sign-in', cell: (user) => (user.last_sign_in_at ? <Ago at={user.last_sign_in_at} /> : <span className="muted">never</span>), wide: true },
    { head: 'State', cell: (user) => (user.disabled ? <span className="status tone-bad"><Icon name="slash" /> disabled</span> : <span className="status tone-ok"><Icon name="check" /> active</span>) },
    { head: '', cell: (user) => <Actions user={user} ask={setAsked} /> },
  ];
  return (
    <Matter
      title="Users"
      intro="People with a name and a password, or with an account at an OpenID provider."
      action={
        <button type="button" className="button primary" onClick={() => setAsked({ what: 'create' })}>
          <Icon name="plus" /> Create a user
        </button>
      }
    >
      <Fetched query={users}>
        {(rows) => (
          <DataTable
            label="Users"
            columns={columns}
            rows={rows}
            id={(user) => user.id}
            empty={
              <Empty title="No users yet" commands={['fleetfoot user create ada --role admin']}>
                Until there is one, people sign in with an API token.
              </Empty>
            }
          />
        )}
      </Fetched>
      {asked?.what === 'create' && <Create onClose={() => setAsked(null)} />}
      {asked?.what === 'role' && <ChangeRole user={asked.user} onClose={() => setAsked(null)} />}
      {asked?.what === 'password' && <ChangePassword user={asked.user} onClose={() => setAsked(null)} />}
    </Matter>
  );
}

function waysOf(user: UserView): string {
  const ways = [user.has_password ? 'password' : null, user.identity?.provider ?? null];
  return ways.filter(Boolean).join(', ') || 'nothing yet';
}

function Actions({ user, ask }: { user: UserView; ask: (asked: Asked) => void }) {
  const act = useDo();
  const path = { params: { path: { id: user.id } } };
  const toggle = (): void => {
    const disabled = !user.disabled;
    void act(disabled ? 'Disabling' : 'Enabling', () => answer(api.PATCH('/api/v1/users/{id}', { ...path, body: { disabled } })),
      disabled ? `${user.name} may no longer sign in` : `${user.name} may sign in again`, ['users']);
  };
  return (
    <span className="row">
      <Menu
        trigger={
          <button type="button" className="button ghost small" aria-label={`Change ${user.name}`}>
            Change <Icon name="down" />
          </button>
        }
      >
        <MenuItem onSelect={() => ask({ what: 'role', user })}>Role…</MenuItem>
        <MenuItem onSelect={() => ask({ what: 'password', user })}>Password…</MenuItem>
        <MenuItem onSelect={toggle}>{user.disabled ? 'Enable' : 'Disable'}</MenuItem>
      </Menu>
      <Remove
        what={`user ${user.name}`}
        consequence="Their sessions end at once. What they did stays in the audit log."
        keys={['users']}
        work={() => answer(api.DELETE('/api/v1/users/{id}', path))}
      />
    </span>
  );
}

function Create({ onClose }: { onClose: () => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const text = texts(form);
    const password = new FormData(form).get('password');
    await answer(api.POST('/api/v1/users', {
      body: {
        name: text('name') ?? '',
        display_name: text('display_name') ?? '',
        role: (text('role') ?? 'member') as Role,
        password: typeof password === 'string' && password !== '' ? password : null,
      },
    }));
    await queries.invalidateQueries({ queryKey: ['users'] });
  };
  return (
    <FormDialog title="Create a user" action="Create" onClose={onClose} submit={submit}>
      <Field label="Name" name="name" required maxLength={64} placeholder="ada" autoCapitalize="none" />
      <Field label="Name for people" name="display_name" maxLength={100} placeholder="Ada Lovelace" />
      <Choice label="Role" name="role" choices={ROLES} defaultValue="member" />
      <Field label="Password" name="password" type="password" minLength={8} autoComplete="new-password" help="Empty for people who sign in through an OpenID provider alone." />
    </FormDialog>
  );
}

function ChangeRole({ user, onClose }: { user: UserView; onClose: () => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const role = (texts(form)('role') ?? user.role) as Role;
    await answer(api.PATCH('/api/v1/users/{id}', { params: { path: { id: user.id } }, body: { role, unlink: false } }));
    await queries.invalidateQueries({ queryKey: ['users'] });
  };
  return (
    <FormDialog title={`Role of ${user.name}`} description="It holds at once, also in open sessions." action="Save" onClose={onClose} submit={submit}>
      <Choice label="Role" name="role" choices={ROLES} defaultValue={user.role} />
    </FormDialog>
  );
}

function ChangePassword({ user, onClose }: { user: UserView; onClose: () => void }) {
  const queries = useQueryClient();
  const submit = async (form: HTMLFormElement): Promise<void> => {
    const data = new FormData(form);
    const current = data.get('current');
    await answer(api.POST('/api/v1/users/{id}/password', {
      params: { path: { id: user.id } },
      body: { password: String(data.get('password') ?? ''), current: typeof current === 'string' && current !== '' ? current : null },
    }));
    await queries.invalidateQueries({ queryKey: ['users'] });
  };
  return (
    <FormDialog title={`Password of ${user.name}`} description="All sessions of the user end." action="Set the password" onClose={onClose} submit={submit}>
      <Field label="New password" name="password" type="password" minLength={8} required autoComplete="new-password" />
      <Field label="Current password" name="current" type="password" autoComplete="current-password" help="Needed for one's own password alone." />
    </FormDialog>
  );
}
