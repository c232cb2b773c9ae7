/** The sign-in page: a name and a password, an API token, or a provider of identities. */
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { useRouter, useSearch } from '@tanstack/react-router';
import { useState, type FormEvent } from 'react';
import { ApiError } from '../api/problem';
import { leavesToSignIn, signIn, signInWaysQuery } from '../api/session';
import { usePageTitle } from '../lib/title';
import { Mark } from '../ui/Mark';
import { Failed } from '../ui/states';
import './sign-in.css';

/** What the server says about a sign-in through a provider that failed; its log has more. */
const REFUSALS: ReadonlyMap<string, { message: string; hint: string }> = new Map([
  ['denied', { message: 'The provider did not confirm the sign-in.', hint: 'Try again, and allow the sign-in there.' }],
  ['not_allowed', { message: 'This account may not sign in here.', hint: 'Ask an admin to let it in: the groups or domains of the sign-in settings decide, or fleetfoot user create.' }],
  ['stale', { message: 'The sign-in took too long, or was begun in another browser.', hint: 'Begin it again from this page.' }],
  ['unproven', { message: 'What the provider sent does not prove who you are.', hint: 'Try again. If it stays so, the log of the server says what is wrong.' }],
  ['unavailable', { message: 'The provider is out of reach.', hint: 'Try again in a moment, or sign in another way.' }],
  ['unknown_provider', { message: 'The server does not know this provider.', hint: 'Choose one of the ways below.' }],
]);

/** The page. After signing in it goes back to where the person wanted to be. */
export function SignIn() {
  usePageTitle('Sign in');
  const { back, error } = useSearch({ from: '/sign-in' });
  const refusal = error === undefined ? undefined : REFUSALS.get(error);
  const ways = useQuery(signInWaysQuery);
  const [withToken, setWithToken] = useState(false);
  // Which form is right is known in a moment; one that changes under the hands would be worse.
  const ready = !ways.isPending;
  const password = !withToken && ways.data?.password === true;
  return (
    <main className="sign-in">
      <Mark />
      <h1>Sign in to Fleetfoot</h1>
      {refusal && <Failed error={new ApiError({ status: 403, code: error ?? '', ...refusal })} />}
      {ready && <ProofForm key={String(password)} password={password} back={back} />}
      {ways.data?.password && (
        <button type="button" className="button ghost" onClick={() => setWithToken(!withToken)}>
          {password ? 'Use an API token instead' : 'Use a name and a password instead'}
        </button>
      )}
      {ways.data?.oidc.map((provider) => (
        <a
          key={provider.id}
          className="button"
          onClick={leavesToSignIn}
          href={`/auth/oidc/${encodeURIComponent(provider.id)}/start?back=${encodeURIComponent(back ?? '/ui/')}`}
        >
          Sign in with {provider.name}
        </a>
      ))}
      <p className="muted">
        {password ? (
          <>An admin creates users: <code>fleetfoot user create NAME</code></>
        ) : (
          <>
            The server printed an admin token when it first started. With it, <code>fleetfoot token create</code> makes
            more, and <code>fleetfoot user create</code> makes users with passwords.
          </>
        )}
      </p>
    </main>
  );
}

function ProofForm({ password, back }: { password: boolean; back: string | undefined }) {
  const queries = useQueryClient();
  const router = useRouter();
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  const submit = async (event: FormEvent<HTMLFormElement>): Promise<void> => {
    event.preventDefault();
    const fields = new FormData(event.currentTarget);
    const text = (name: string): string => String(fields.get(name) ?? '');
    setBusy(true);
    setError(null);
    try {
      await signIn(queries, password ? { name: text('name').trim(), password: text('password') } : { token: text('token').trim() });
      router.history.replace(back ?? '/ui/runs');
    } catch (thrown) {
      setError(thrown);
      setBusy(false);
    }
  };

  return (
    <form className="card sign-in-form" onSubmit={(event) => void submit(event)}>
      {password ? (
        <>
          <div className="field">
            <label htmlFor="name">Name</label>
            <input id="name" name="name" className="input" autoComplete="username" autoCapitalize="none" spellCheck={false} required autoFocus />
          </div>
          <div className="field">
            <label htmlFor="password">Password</label>
            <input id="password" name="password" type="password" className="input" autoComplete="current-password" required />
          </div>
        </>
      ) : (
        <div className="field">
          <label htmlFor="token">API token</label>
          <input id="token" name="token" type="password" className="input" autoComplete="off" spellCheck={false} required autoFocus />
        </div>
      )}
      {error != null && <Failed error={error} />}
      <button type="submit" className="button primary" disabled={busy}>
        {busy ? 'Signing in…' : 'Sign in'}
      </button>
    </form>
  );
}
